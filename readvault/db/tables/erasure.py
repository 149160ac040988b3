"""Bytes that were destroyed on purpose, and the proof of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column
from sqlmodel import Field, SQLModel

from readvault.db.tables.keys import KEY


class Erasure(SQLModel, table=True):
    """One shredding: what was to go and why, who asked, who confirmed, and what is left of it."""

    __tablename__ = "erasure"
    id: int | None = Field(default=None, primary_key=True)
    accession_versions: list[str] = Field(sa_column=Column(JSON, nullable=False))
    reason: str
    requested_by: str
    requested_at: float
    confirmed_by: str | None = None
    confirmed_at: float | None = None
    finished_at: float | None = None
    proof: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    """Every version that was deleted, with SHA-256 and size, and what a search found afterwards: nothing."""


class ErasedObject(SQLModel, table=True):
    """A pinned object whose bytes were shredded: nobody expects it in the bucket any more. Rows never change."""

    __tablename__ = "erased_object"
    key: str = Field(sa_column=Column(KEY, primary_key=True))
    version_id: str | None = None
    sha256: str | None = None
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    erasure_id: int = Field(foreign_key="erasure.id", index=True)
    erased_at: float
