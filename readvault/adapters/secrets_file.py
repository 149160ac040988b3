"""Random secrets of one installation, made once and kept in a file that only its owner reads."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from readvault.domain.errors import NotReady

BYTES = 24


def load_or_make(path: Path, names: Iterable[str]) -> dict[str, str]:
    """The secrets of these names; those that the file lacks are made and written to it."""
    known: dict[str, str] = {}
    if path.exists():
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as fault:
            raise NotReady(
                f"{path} can't be read as JSON ({type(fault).__name__}); without it the data are locked"
            ) from None
    missing = [name for name in names if name not in known]
    if missing:
        known |= {name: secrets.token_urlsafe(BYTES) for name in missing}
        write_private(path, json.dumps(known, indent=1, sort_keys=True))
    return known


def write_private(path: Path, content: str) -> None:
    """Replace a file at once by one that only its owner can read; a reader sees the old or the new one, never half."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def write_private_json(path: Path, content: Any) -> None:
    """The same for JSON, in the order of the keys as given."""
    write_private(path, json.dumps(content, indent=2) + "\n")
