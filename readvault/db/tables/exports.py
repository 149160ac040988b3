"""Exports of aligned reads for SILO: what each one is made of, its files, and the parts that were made already."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from readvault.db.tables.keys import KEY


class SiloExport(SQLModel, table=True):
    """One export of an organism's public reads: being built, ready for everybody, or dropped."""

    __tablename__ = "silo_export"
    __table_args__ = (
        # One at a time for each organism, whoever begins it.
        Index(
            "ix_silo_export_building",
            "organism",
            unique=True,
            sqlite_where=text("state = 'building'"),
            postgresql_where=text("state = 'building'"),
        ),
        Index("ix_silo_export_ready", "organism", "state", "ready_at"),
    )
    id: str = Field(primary_key=True)
    organism: str
    state: str
    """`readvault.domain.exports.State`."""
    begun_at: float
    alive_until: float | None = None
    """While it is being built: who builds it moves this on, and is dead once it has passed. None: nobody does."""
    ready_at: float | None = None
    dropped_at: float | None = None
    why: str | None = None
    """Why it was dropped."""
    content: str | None = None
    """SHA-256 (hexadecimal) that says which parts and settings it is made of: equal ones have equal files."""
    manifest_digest: str | None = None
    figures: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """Counts: samples, reads, bytes, and how many samples were reused, new, replaced and dropped."""


class SiloExportFile(SQLModel, table=True):
    """One file of an export, pinned."""

    __tablename__ = "silo_export_file"
    export_id: str = Field(foreign_key="silo_export.id", primary_key=True)
    name: str = Field(primary_key=True)
    key: str = Field(sa_column=Column(KEY, nullable=False, index=True))
    version_id: str | None = None
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    sha256: str


class SiloExportMember(SQLModel, table=True):
    """One accession version whose reads an export has, with the result and the metadata that they are of."""

    __tablename__ = "silo_export_member"
    __table_args__ = (Index("ix_silo_export_member_entry", "accession", "version"),)
    export_id: str = Field(foreign_key="silo_export.id", primary_key=True)
    accession: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    manifest_id: int = Field(foreign_key="manifest.id", index=True)
    recipe: str
    """SHA-256 (hexadecimal) of what its lines are made of: the reads' file, the metadata, the columns."""


class SiloPart(SQLModel, table=True):
    """The lines of one accession version, ready to be put into an export: made once for each recipe."""

    __tablename__ = "silo_part"
    __table_args__ = (UniqueConstraint("accession", "version", "recipe"), Index("ix_silo_part_made", "made_at"))
    id: int | None = Field(default=None, primary_key=True)
    organism: str
    accession: str
    version: int
    recipe: str
    key: str = Field(sa_column=Column(KEY, nullable=False, index=True))
    version_id: str | None = None
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    sha256: str
    reads: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Lines."""
    made_at: float
