"""What must still be written beside the files in S3."""

from __future__ import annotations

from sqlalchemy import Column, Text
from sqlmodel import Field, SQLModel

from readvault.db.tables.keys import KEY


class PendingRecord(SQLModel, table=True):
    """What a transaction wants in the bucket, so that the database can be rebuilt; gone once it is there."""

    __tablename__ = "pending_record"
    # A number is never used again: whoever takes a row off that he wrote to the bucket takes off no other one.
    __table_args__ = ({"sqlite_autoincrement": True},)
    id: int | None = Field(default=None, primary_key=True)
    kind: str
    """`readvault.db.records.Kind`: a document, or what a document is made of when it is exported."""
    key: str = Field(sa_column=Column(KEY, nullable=False))
    """Of a document its key in the bucket, never the same for two contents; else what it is about."""
    body: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    """Canonical JSON of a document."""
    created_at: float
