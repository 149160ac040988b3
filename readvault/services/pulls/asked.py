"""What submitters ask for and are told."""

from __future__ import annotations

from dataclasses import dataclass

from readvault.db.tables import Pull, PullSource
from readvault.domain.pulls import PullState
from readvault.ports import ForeignBucket

CHALLENGE = "readvault-challenge-"
"""How the name of every challenge object begins."""


@dataclass(frozen=True, slots=True, repr=False)
class WantedSource:
    """One file that shall be pulled: `address` is its URL, or its key in the bucket. Never printed.

    `size` (bytes) and `sha256` (hexadecimal) are the submitter's word: other bytes are refused.
    """

    address: str
    name: str | None = None
    size: int | None = None
    sha256: str | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class WantedPull:
    """URLs, or keys of a bucket, or all that is under a prefix of it. Never printed."""

    sources: tuple[WantedSource, ...] = ()
    bucket: ForeignBucket | None = None
    prefix: str | None = None
    category: str | None = None
    """Of what is found under the prefix."""
    by_reference: bool = False
    """The files stay where they are: they are read and hashed, and read again whenever they are needed."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What must lie beside the sources, in each of these folders, as proof that their owner asked."""

    name: str
    content: str
    folders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PullView:
    """A pull as its group sees it: no credential, no query of a URL."""

    pull: Pull
    sources: tuple[PullSource, ...]
    challenge: Challenge | None
    size: int
    """Bytes, as far as they are known."""
    bytes_done: int

    @property
    def state(self) -> PullState:
        """Where it is."""
        return PullState(self.pull.state)


def folder_of(place: str) -> str:
    """The part of a key or URL up to its last slash: what lies directly in it is beside the source.

    >>> folder_of("run7/reads.fastq"), folder_of("reads.fastq"), folder_of("https://s3.example.org/b/r.bam")
    ('run7/', '', 'https://s3.example.org/b/')
    """
    return place[: place.rfind("/") + 1]
