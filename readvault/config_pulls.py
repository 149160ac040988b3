"""Settings of pulls: files from submitters' own S3. `docs/settings.md` explains each one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, SecretStr

from readvault.domain.organism import Bytes


class PullSettings(BaseModel):
    """Files from submitters' own S3. Keys are 32 bytes in base64; the first encrypts, all decrypt."""

    enabled: bool = False
    references: bool = False
    secret_keys: tuple[SecretStr, ...] = ()
    aws_regions: tuple[str, ...] = ("*",)
    hosts: tuple[Annotated[str, Field(pattern=r"^(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?$")], ...] = ()
    ca_file: Path | None = None
    allow_private_addresses: bool = False
    objects_per_request: int = Field(1000, ge=1, le=10_000)
    bytes_per_request: Bytes = 10**12
    open_per_group: int = Field(20, ge=1)
    connections: int = Field(4, ge=1, le=16)
    minimum_rate: Bytes = 100_000
    tries: int = Field(4, ge=1)
    hours: float = Field(72, gt=0)
