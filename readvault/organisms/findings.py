"""What a check of organism files says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Level(StrEnum):
    """How bad it is: an error keeps the whole set from being loaded, a warning is legal."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake or doubt: where (1-based line, key path), what, and what to do about it."""

    level: Level
    file: Path
    line: int
    key: str
    message: str
    advice: str = ""

    def __str__(self) -> str:
        what = f"{self.key}: {self.message}" if self.key else self.message
        return f"{self.file}:{self.line}: {self.level}: {what}" + (f" -> {self.advice}" if self.advice else "")
