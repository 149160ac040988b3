"""Erasures: what of an accession version goes, what stays, and how long a request waits for its confirmation."""

from __future__ import annotations

from enum import StrEnum

CONFIRM_WITHIN = 7 * 86_400.0
"""Seconds after which an unconfirmed request is void."""


class Scope(StrEnum):
    """How much of the named accession versions goes."""

    EVERYTHING = "everything"
    """Reads, results, private documents; of unreleased versions all but the tombstone."""
    ORIGINALS = "originals"
    """The original files alone; released results stay (`originals.shredAfterDays`)."""


class Kind(StrEnum):
    """What an object version that goes is."""

    ORIGINAL = "original"
    REFERENCED = "reference"
    """An original that its group keeps in its own bucket: we forget where, and its bytes stay with the group."""
    PROCESSED = "processed"
    DOCUMENT = "document"
    OTHER_VERSION = "other version"
    """A version that nobody pinned, under a key that goes."""
    MARKER = "delete marker"
    PARTS = "unfinished upload"
    EXPORT = "export"
    """A file or part of an export for SILO that has it."""
    STAGED = "staged"
    """An output that a called-off job had stored and not registered."""


class State(StrEnum):
    """How far an erasure is."""

    REQUESTED = "requested"
    EXPIRED = "expired"
    CONFIRMED = "confirmed"
    FINISHED = "finished"


BUCKET, SECOND = "bucket", "second"
POLICY = "readvault"
"""Who asks for and confirms what the organism's own rules say."""
