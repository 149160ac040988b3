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
        Index("ix_fixity_check_checked", "checked_at"),
    )
    key: str = Field(sa_column=Column(KEY, primary_key=True))
    checked_at: float
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    damage: str | None = None
    """`missing`, `other bytes` or, of a file that stays with its group, `reference lost`; None while all is well."""
    damaged_since: float | None = None
    unrepaired: str | None = None
    """What has stood in the way of a repair so far, for maintainers."""


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


class SecondCopy(SQLModel, table=True):
    """A released object of which the second bucket has a copy, or is owed one (`copied_at` None)."""

    __tablename__ = "second_copy"
    __table_args__ = (
        Index(
            "ix_second_copy_owed",
            "key",
            sqlite_where=text("copied_at IS NULL"),
            postgresql_where=text("copied_at IS NULL"),
        ),
        Index("ix_second_copy_checked", "checked_at", "key"),
    )
    key: str = Field(sa_column=Column(KEY, primary_key=True))
    owed_at: float
    copied_at: float | None = None
    version_id: str | None = None
    """In the second bucket."""
    sha256: str | None = None
    size: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    checked_at: float | None = None
    """When the copy was last read and hashed."""


class Bookmark(SQLModel, table=True):
    """How far a walk through the bucket came that was broken off; it goes on beyond `position`."""

    __tablename__ = "bookmark"
    name: str = Field(primary_key=True)
    position: str = Field(default="", sa_column=Column(KEY, nullable=False))
    finished_at: float | None = None
    """When the last walk came to the end."""
