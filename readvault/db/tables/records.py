"""What must still be written beside the files in S3."""

from __future__ import annotations

from sqlalchemy import Column, Text
from sqlmodel import Field, SQLModel

from readvault.db.tables.keys import KEY


class PendingRecord(SQLModel, table=True):
    """A document that a transaction wants in the bucket, so that the database can be rebuilt; gone once it is there."""

    __tablename__ = "pending_record"
    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(sa_column=Column(KEY, nullable=False))
    """Never the same for two contents: it ends with a number or a digest."""
    body: str = Field(sa_column=Column(Text, nullable=False))
    """Canonical JSON."""
    created_at: float
