"""What an import writes: new files in the folder that was named, and nothing else anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from readvault.domain.errors import NotReady


def write_new(texts: Mapping[Path, str], folders: Iterable[Path]) -> None:
    """Write these files, whose folders may be there but lead nowhere else.

    Raises NotReady, before the first is written, when one of them is there already or a link stands in its place.
    """
    taken = [path for path in texts if path.exists() or path.is_symlink()]
    if taken := taken + [folder for folder in folders if folder.is_symlink()]:
        raise NotReady(f"{taken[0]} is there already: choose another folder")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
