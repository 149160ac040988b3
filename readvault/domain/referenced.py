"""Referenced files: original files that stay in a bucket of their group. We know what they are and where they lie."""

from __future__ import annotations

FOLDER = "referenced/"
"""How their keys begin. Nothing of them lies in our bucket."""


def key_of(pull_id: str, file_id: str) -> str:
    """The key that stands for a referenced file among the keys of our own bucket.

    >>> key_of("p", "f")
    'referenced/p/f'
    """
    return f"{FOLDER}{pull_id}/{file_id}"


def file_id_of(key: str) -> str:
    """The ID of the file for which such a key stands.

    >>> file_id_of("referenced/p/f")
    'f'
    """
    return key.removeprefix(FOLDER).partition("/")[2]


def is_referenced(key: str) -> bool:
    """Whether the bytes under a key lie elsewhere: not under our guarantee, never public, never ours to delete.

    >>> is_referenced("referenced/p/f"), is_referenced("incoming/b/f")
    (True, False)
    """
    return key.startswith(FOLDER)
