"""Settings of pulls: files from submitters' own S3. `docs/settings.md` explains each one."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from readvault.domain.organism import Bytes

KEY_BYTES = 32


class PullSettings(BaseModel):
    """Files from submitters' own S3. Keys are 32 bytes in base64; the first encrypts, all decrypt."""

    model_config = ConfigDict(hide_input_in_errors=True)

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
    hours: float = Field(72, gt=0)

    @field_validator("secret_keys")
    @classmethod
    def _keys_are_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in keys:
            decoded(key)
        return keys


def decoded(key: SecretStr) -> bytes:
    """The 32 bytes of a key; raises ValueError, without the key, for anything else."""
    try:
        found = base64.b64decode(key.get_secret_value().strip().replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error:
        found = b""
    if len(found) != KEY_BYTES:
        raise ValueError(f"a key is {KEY_BYTES} bytes in base64")
    return found
