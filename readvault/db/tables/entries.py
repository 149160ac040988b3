"""Accession versions as they were submitted."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Boolean, Column, ForeignKeyConstraint, Index, text
from sqlmodel import Field, SQLModel


class AccessionCounter(SQLModel, table=True):
    """The last number that became an accession; one row."""

    __tablename__ = "accession_counter"
    id: int = Field(default=1, primary_key=True)
    last: int = 0


class EntryVersion(SQLModel, table=True):
    """One accession version as it was submitted. Its status is derived, never stored."""

    __tablename__ = "entry_version"
    __table_args__ = (
        Index("ix_entry_version_listing", "organism", "group_id", "accession", "version"),
        Index("ix_entry_version_all", "organism", "accession", "version"),
        Index("ix_entry_version_batch", "batch_id"),
        Index("ix_entry_version_newest", "organism", "group_id", "submitted_at"),
        Index(
            "ix_entry_version_unreleased",
            "organism",
            "group_id",
            "accession",
            "version",
            sqlite_where=text("NOT released"),
            postgresql_where=text("NOT released"),
        ),
    )
    accession: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    organism: str
    group_id: int = Field(foreign_key="submitting_group.id")
    submission_id: str
    submitter: str
    submitted_at: float
    batch_id: str | None = None
    """The request it came with: a plate, say."""
    released: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    """Set right before its `release` is written, so that open ones are found without looking at all."""
    is_revocation: bool = False
    version_comment: str | None = None
    terms_type: str = "OPEN"
    """The data use terms as they were submitted; `data_use_terms` says what they are now."""
    restricted_until: str | None = None
    submitted_metadata: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    submitted_sequences: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    """Unaligned nucleotide sequences by FASTA ID."""


class EntryFile(SQLModel, table=True):
    """A submitted file of an accession version, under the submitter's own label."""

    __tablename__ = "entry_file"
    __table_args__ = (
        ForeignKeyConstraint(["accession", "version"], ["entry_version.accession", "entry_version.version"]),
    )
    accession: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    category: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    position: int
    """The place in the submitter's list, from 0."""
    file_id: str = Field(foreign_key="uploaded_file.id", index=True)


class SubmittedDataArchive(SQLModel, table=True):
    """What an accession version was before somebody edited it."""

    __tablename__ = "submitted_data_archive"
    __table_args__ = (Index("ix_submitted_data_archive_entry", "accession", "version"),)
    id: int | None = Field(default=None, primary_key=True)
    accession: str
    version: int
    edited_by: str
    edited_at: float
    submitted_metadata: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    submitted_sequences: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    files: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """By category a list of `{name, fileId}`."""


class DeletedEntryVersion(SQLModel, table=True):
    """The name of an accession version that was deleted before its release: names are never used again."""

    __tablename__ = "deleted_entry_version"
    accession: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    organism: str
    group_id: int = Field(foreign_key="submitting_group.id")
    deleted_by: str
    deleted_at: float


class DataUseTerms(SQLModel, table=True):
    """The data use terms of an accession from a moment on; the newest row holds. A restriction lapses by its date."""

    __tablename__ = "data_use_terms"
    __table_args__ = (Index("ix_data_use_terms_accession", "accession", "id"),)
    id: int | None = Field(default=None, primary_key=True)
    accession: str
    terms_type: str
    restricted_until: str | None = None
    user_name: str
    changed_at: float
