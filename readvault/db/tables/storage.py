"""What is known of the stored bytes themselves."""

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
