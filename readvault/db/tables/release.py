"""What is public, and what became of it since."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, ForeignKeyConstraint, Index, text
from sqlmodel import Field, SQLModel


class Release(SQLModel, table=True):
    """The approval of an accession version; from its commit on the version is public."""

    __tablename__ = "release"
    __table_args__ = (
        ForeignKeyConstraint(["accession", "version"], ["entry_version.accession", "entry_version.version"]),
    )
    accession: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    manifest_id: int = Field(foreign_key="manifest.id", index=True)
    released_at: float
    approver: str
    digest_was_given: bool


class CurrentResult(SQLModel, table=True):
    """Which manifest stands for a released accession version from a moment on; the newest row holds.

    Without a row it is the manifest that was approved. Every manifest named here was published and
    stays downloadable by its pipeline version.
    """

    __tablename__ = "current_result"
    __table_args__ = (
        ForeignKeyConstraint(["accession", "version"], ["entry_version.accession", "entry_version.version"]),
        Index("ix_current_result_entry", "accession", "version", "id"),
    )
    id: int | None = Field(default=None, primary_key=True)
    accession: str
    version: int
    manifest_id: int = Field(foreign_key="manifest.id", index=True)
    since: float
    actor: str
    reason: str


class Intervention(SQLModel, table=True):
    """What a maintainer did to an accession version, and why; the newest row holds. Rows never change."""

    __tablename__ = "intervention"
    __table_args__ = (
        ForeignKeyConstraint(["accession", "version"], ["entry_version.accession", "entry_version.version"]),
        Index("ix_intervention_entry", "accession", "version", "id"),
    )
    id: int | None = Field(default=None, primary_key=True)
    accession: str
    version: int
    state: str
    """`readvault.domain.status.Visibility`."""
    reason: str
    actor: str
    at: float


class ExternalMetadata(SQLModel, table=True):
    """What an updater outside says of an approved accession version, such as its accession at ENA."""

    __tablename__ = "external_metadata"
    __table_args__ = (
        ForeignKeyConstraint(["accession", "version"], ["entry_version.accession", "entry_version.version"]),
    )
    accession: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    updater: str = Field(primary_key=True)
    content: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    updated_at: float


class ReleasedCount(SQLModel, table=True):
    """How many accession versions of a group are released, so that nobody has to count them."""

    __tablename__ = "released_count"
    organism: str = Field(primary_key=True)
    group_id: int = Field(foreign_key="submitting_group.id", primary_key=True)
    entries: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class OrganismState(SQLModel, table=True):
    """What changes about an organism while the service runs."""

    __tablename__ = "organism_state"
    organism: str = Field(primary_key=True)
    released_revision: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    """Grows with every change of what is public."""
    released_changed_at: float = 0.0
    current_pipeline_version: int | None = None
    """Which version of an external pipeline counts; None before any has asked for work: the organism file's."""
    processing_revision: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    """Grows whenever external pipelines take work or send results."""
