"""What may be submitted for an organism."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from readvault.domain.organism.parts import Bytes, Strict
from readvault.domain.reads import FileFormat


class FileCategory(Strict):
    """What may be submitted in one file category."""

    formats: tuple[FileFormat, ...] = tuple(FileFormat)
    required: bool = False
    max_files: int = Field(1000, ge=1)
    max_bytes_per_file: Bytes = 20 * 10**9
    may_contain_reads: bool = True


class Submission(Strict):
    """What a submission consists of."""

    consensus_sequences: Literal["required", "optional", "forbidden"] = "optional"
    files: dict[str, FileCategory] = Field(default_factory=lambda: {"rawReads": FileCategory()})
