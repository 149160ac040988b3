"""What is known of the stored bytes themselves: when they were read, what was wrong, how it was mended."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, text
from sqlmodel import Field, SQLModel

from readvault.db.tables.keys import KEY


class FixityCheck(SQLModel, table=True):
    """When the bytes under a key were last read and hashed, and what was wrong with them."""

    __tablename__ = "fixity_check"
    __table_args__ = (
        Index(
            "ix_fixity_check_damaged",
            "key",
            sqlite_where=text("damage IS NOT NULL"),
            postgresql_where=text("damage IS NOT NULL"),
        ),
    )
    key: str = Field(sa_column=Column(KEY, primary_key=True))
    checked_at: float
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    damage: str | None = None
    """`missing` or `other bytes`; None while all is well."""
    damaged_since: float | None = None


class Repair(SQLModel, table=True):
    """A pinned version whose bytes were lost, and the version with the same bytes that stands for it since.

    Written before the pin is moved: without such a row no trigger lets a pin move.
    """

    __tablename__ = "repair"
    __table_args__ = (Index("ix_repair_key", "key", "id"),)
    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(sa_column=Column(KEY, nullable=False))
    lost_version_id: str | None = None
    version_id: str | None = None
    sha256: str
    """Of the bytes that were put there, computed from what was read back; it is the one that was sealed."""
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    source: str
    """`second bucket`, `earlier version`, `made again` or `uploaded again`."""
    actor: str
    at: float
