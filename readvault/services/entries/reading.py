"""Small stored files that the house itself reads to show them: never more than asked for, never wrong bytes."""

from __future__ import annotations

import gzip
import io
import tempfile
import zlib
from pathlib import Path

from readvault.db.erased import refuse_shredded
from readvault.domain.errors import BytesLost, Damaged, TooLarge
from readvault.ports import StoredVersion
from readvault.services.entries import damage
from readvault.services.house import House

STEP = "read"
"""What this is called where S3 is at fault."""
_DAMAGED = "its stored bytes are damaged, and are being restored."


def bytes_of(house: House, stored: StoredVersion, sha256: str, *, most: int) -> bytes:
    """The bytes of a pinned version, as they were hashed when it was stored.

    Raises TooLarge for more than `most` bytes, Gone for what was shredded, Damaged for what is
    lost or altered (which is noted, so that it is repaired), ProcessingFailure when S3 can't be reached.
    """
    if stored.size > most:
        raise TooLarge(f"it has {stored.size} bytes, and at most {most} are read here.")
    with house.sessions.read() as session:
        refuse_shredded(session, stored.key, stored.version_id)
        if damage.damaged_among(session, [stored.key]):
            raise Damaged(_DAMAGED)
    with tempfile.TemporaryDirectory(prefix="readvault-") as folder:
        target = Path(folder, "file")
        try:
            if house.store.fetch(stored, target, expected=sha256) == sha256:
                return target.read_bytes()
        except BytesLost:
            pass
    failure = damage.noticed(house, stored, sha256, STEP)
    if isinstance(failure, BytesLost):
        raise Damaged(_DAMAGED)
    raise failure


def unpacked(content: bytes, *, most: int) -> bytes:
    """Gzip (bgzip too) unpacked; what is not compressed comes back as it is.

    Raises TooLarge for more than `most` bytes, ValueError when it ends too early or is broken.
    """
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            text = packed.read(most + 1)
    except (EOFError, OSError, zlib.error) as fault:
        raise ValueError("it can't be unpacked.") from fault
    if len(text) > most:
        raise TooLarge(f"it unpacks to more than {most} bytes, which is too much here.")
    return text
