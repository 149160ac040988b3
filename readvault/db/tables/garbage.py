"""What nothing refers to, and is about to be deleted from the bucket."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index
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
    """Why it is garbage: `readvault.services.storage.garbage.Category`."""
    condemned_at: float
    deleting_since: float | None = None
