"""Reprocessing: orders to process entries with a newer pipeline version, and how each new result compares."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, ForeignKeyConstraint, Index, Text, text
from sqlmodel import Field, SQLModel

from readvault.domain.reprocessing import OrderState


class Reprocessing(SQLModel, table=True):
    """An order: these entries of an organism are processed with this pipeline version, in the background."""

    __tablename__ = "reprocessing"
    __table_args__ = (
        Index("ix_reprocessing_organism", "organism", "pipeline_version"),
        Index("ix_reprocessing_state", "state"),
        Index(
            "uq_reprocessing_automatic",
            "organism",
            "pipeline_version",
            unique=True,
            sqlite_where=text("automatic"),
            postgresql_where=text("automatic"),
        ),
    )
    id: int | None = Field(default=None, primary_key=True)
    organism: str
    pipeline_version: int
    choice: str = Field(sa_column=Column(Text, nullable=False))
    """Canonical JSON of `services.reprocessing.choices.Choice`: which entries."""
    reason: str
    automatic: bool = False
    """It came into being because `pipeline.version` was raised; a nightly look may begin it anew."""
    state: str = OrderState.REQUESTED.value
    per_hour: int | None = None
    """So many entries an hour at most; None: as fast as the background allows."""
    planned_entries: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    planned_bytes: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    requested_by: str
    requested_at: float
    confirmed_by: str | None = None
    confirmed_at: float | None = None
    after_accession: str = ""
    after_version: int = 0
    """The bookmark: everything up to it was looked at."""
    fed: bool = False
    """The bookmark is at the end: no more jobs come of this order."""
    queued: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    """How many jobs were made of it."""
    pace_since: float = 0.0
    pace_queued: int = 0
    """From when on `per_hour` is counted, and how many jobs were made since then."""
    changed_at: float
    rolled_back_by: str | None = None
    rolled_back_at: float | None = None
    rolled_back_reason: str | None = None
    roll_back_after: int = 0
    """The bookmark of going back: the last compared result that was looked at."""
    roll_back_done: bool = False


class ComparedResult(SQLModel, table=True):
    """A result of a newer pipeline version beside the one that stood before it, and what became of it."""

    __tablename__ = "compared_result"
    __table_args__ = (
        ForeignKeyConstraint(["accession", "version"], ["entry_version.accession", "entry_version.version"]),
        Index("ix_compared_result_entry", "accession", "version"),
        Index("ix_compared_result_state", "state", "id"),
        Index(
            "ix_compared_result_reprocessing",
            "reprocessing_id",
            "state",
            "id",
            sqlite_where=text("reprocessing_id IS NOT NULL"),
            postgresql_where=text("reprocessing_id IS NOT NULL"),
        ),
    )
    id: int | None = Field(default=None, primary_key=True)
    accession: str
    version: int
    manifest_id: int = Field(foreign_key="manifest.id", unique=True)
    """The new result."""
    compared_manifest_id: int = Field(foreign_key="manifest.id", index=True)
    """What stood for the entry before it."""
    reprocessing_id: int | None = None
    """The order that wanted it; None: somebody had the entry processed again."""
    findings: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    """In what it is worse: `readvault.domain.comparison.Finding` as JSON; empty for one that is no worse."""
    state: str
    """`readvault.domain.reprocessing.ResultState`."""
    compared_at: float
    decided_by: str | None = None
    decided_at: float | None = None
    reason: str | None = None
