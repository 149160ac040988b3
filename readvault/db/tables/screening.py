"""Which reads were screened with which host index, whose reads are withheld since, which originals are open."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, UniqueConstraint
from sqlmodel import Field, SQLModel


class Screening(SQLModel, table=True):
    """One published result whose reads went through one host index, and what hit it. Rows never change.

    Reads that processing itself screened with the index have such a row too: nothing of them is known
    to hit it, as what hit was removed.
    """

    __tablename__ = "screening"
    __table_args__ = (
        ForeignKeyConstraint(["accession", "version"], ["entry_version.accession", "entry_version.version"]),
        UniqueConstraint("manifest_id", "index_sha256"),
        Index("ix_screening_entry", "accession", "version", "id"),
        Index("ix_screening_index", "organism", "index_sha256"),
    )
    id: int | None = Field(default=None, primary_key=True)
    organism: str
    accession: str
    version: int
    manifest_id: int = Field(foreign_key="manifest.id")
    index_sha256: str
    category: str
    """What was read: `dehumanizedReads`, or `alignment` where there is no FASTQ."""
    by_processing: bool
    """Whether processing did it: then nothing was read again, and `reads` is 0."""
    reads: int = Field(sa_column=Column(BigInteger, nullable=False))
    """A pair is two."""
    hits: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Reads that hit the index, with their mates."""
    too_short: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Reads in which this index can't see anything."""
    at: float


class Withholding(SQLModel, table=True):
    """That the reads of a published result are kept from the public, or are given again; the newest row holds.

    Rows never change.
    """

    __tablename__ = "withholding"
    __table_args__ = (
        ForeignKeyConstraint(["accession", "version"], ["entry_version.accession", "entry_version.version"]),
        Index("ix_withholding_manifest", "manifest_id", "id"),
        Index("ix_withholding_entry", "accession", "version", "id"),
    )
    id: int | None = Field(default=None, primary_key=True)
    accession: str
    version: int
    manifest_id: int = Field(foreign_key="manifest.id")
    withheld: bool
    reason: str
    """Everybody who asks for the reads is told so."""
    actor: str
    """`readvault` for a screening."""
    at: float


class OriginalOpening(SQLModel, table=True):
    """One step on the way of an entry's originals to the public and back; the newest row holds. Rows never change."""

    __tablename__ = "original_opening"
    __table_args__ = (
        ForeignKeyConstraint(["accession", "version"], ["entry_version.accession", "entry_version.version"]),
        Index("ix_original_opening_entry", "accession", "version", "id"),
        Index("ix_original_opening_step", "step", "at"),
    )
    id: int | None = Field(default=None, primary_key=True)
    accession: str
    version: int
    step: str
    """`readvault.domain.openings.Step`."""
    manifest_id: int = Field(foreign_key="manifest.id")
    """The result whose screen says that no read is human."""
    reason: str
    actor: str
    at: float
