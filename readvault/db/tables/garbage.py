"""What nothing refers to, and is about to be deleted from the bucket."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index
from sqlmodel import Field, SQLModel

from readvault.db.tables.keys import KEY


class CondemnedVersion(SQLModel, table=True):
    """An object version that nothing referred to when it was condemned; it is deleted unless it is used again.

    Who comes to refer to it deletes this row in the same transaction (`db.condemned`), and is refused once
    `deleting_since` is set.
    """

    __tablename__ = "condemned_version"
    __table_args__ = (Index("ix_condemned_version_at", "condemned_at"),)
    key: str = Field(sa_column=Column(KEY, primary_key=True))
    version_id: str = Field(primary_key=True)
    """Empty where the provider keeps no versions."""
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    category: str
    """Why it is garbage: `readvault.services.storage.garbage.unreferenced.Category`."""
    condemned_at: float
    deleting_since: float | None = None
    deleted_at: float | None = None
    """When its bytes went. The row stays a while, so that nobody pins a version that he saw before."""
    note: str | None = None
    """Why it could not be deleted when that was last tried."""


class PartialFile(SQLModel, table=True):
    """An object or an upload that a part of a chain refers to; goes with its `partial_result`.

    The part's own list is JSON, which no index reaches.
    """

    __tablename__ = "partial_file"
    __table_args__ = (
        ForeignKeyConstraint(
            ["accession", "version", "pipeline_version", "source"],
            [
                "partial_result.accession",
                "partial_result.version",
                "partial_result.pipeline_version",
                "partial_result.source",
            ],
            ondelete="CASCADE",
        ),
    )
    accession: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    pipeline_version: int = Field(primary_key=True)
    source: str = Field(primary_key=True)
    place: int = Field(primary_key=True)
    """The place in the part's list, from 0."""
    key: str | None = Field(default=None, sa_column=Column(KEY, nullable=True, index=True))
    """Of a file that readvault's own steps made."""
    file_id: str | None = Field(default=None, index=True)
    """Of a file that the external pipeline uploaded or passes on."""
