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
    scope: str
    """`readvault.domain.erasures.Scope`."""
    reason: str
    code: str
    """SHA-256 of the list of what goes, as it was when it was asked for."""
    objects: int
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    requested_by: str
    requested_at: float
    confirmed_by: str | None = None
    confirmed_at: float | None = None
    not_before: float | None = None
    """Until when a worker may still hold a job of one of these versions that was called off."""
    called_off: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    """The IDs of jobs that were under way: their scratch is looked for."""
    waits_for: str | None = None
    """Why it is confirmed and not finished."""
    finished_at: float | None = None
    proof: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    """Every version that was deleted, with SHA-256 and size, and what a search found afterwards: nothing."""


class ErasedVersion(SQLModel, table=True):
    """The tombstone of an accession version whose bytes were shredded: all that is left of one that was unreleased.

    Rows never change.
    """

    __tablename__ = "erased_version"
    accession: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    organism: str
    group_id: int = Field(foreign_key="submitting_group.id")
    erasure_id: int = Field(foreign_key="erasure.id", index=True)
    was_released: bool
    manifest_digests: list[str] = Field(sa_column=Column(JSON, nullable=False))
    reason: str
    erased_at: float


class ErasedObject(SQLModel, table=True):
    """One object version that is to go, or gone: nobody expects it in the bucket any more, nothing refers to it anew.

    Rows never change but for `deleted_at`, which is set once.
    """

    __tablename__ = "erased_object"
    key: str = Field(sa_column=Column(KEY, primary_key=True))
    version_id: str = Field(primary_key=True)
    """Empty where the provider keeps no versions."""
    place: str = Field(default="bucket", primary_key=True)
    """`bucket`, or `second` for the copies in the second bucket."""
    kind: str
    """`readvault.domain.erasures.Kind`."""
    sha256: str | None = None
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    erasure_id: int = Field(foreign_key="erasure.id", index=True)
    erased_at: float
    """From when on nobody may read it."""
    deleted_at: float | None = None
    """When the store said that it is gone."""
