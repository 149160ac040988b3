"""Jobs, and what processing made."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from readvault.db.tables.keys import KEY
from readvault.domain.status import JobState


class Job(SQLModel, table=True):
    """One thing to do; written in the transaction that needs it."""

    __tablename__ = "job"
    __table_args__ = (
        ForeignKeyConstraint(["accession", "version"], ["entry_version.accession", "entry_version.version"]),
        Index("ix_job_open", "state", "not_before"),
        Index("ix_job_entry", "accession", "version"),
        Index(
            "ix_job_queue",
            "priority",
            "created_at",
            "id",
            sqlite_where=text("state = 'queued'"),
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "ix_job_undelivered",
            "priority",
            "created_at",
            "id",
            sqlite_where=text("state = 'queued' AND run_id IS NULL"),
            postgresql_where=text("state = 'queued' AND run_id IS NULL"),
        ),
        Index(
            "ix_job_delivered",
            "run_checked_at",
            sqlite_where=text("state = 'queued' AND run_id IS NOT NULL"),
            postgresql_where=text("state = 'queued' AND run_id IS NOT NULL"),
        ),
        Index(
            "ix_job_reprocessing",
            "reprocessing_id",
            "state",
            sqlite_where=text("reprocessing_id IS NOT NULL"),
            postgresql_where=text("reprocessing_id IS NOT NULL"),
        ),
        Index(
            "ix_job_external",
            "organism",
            "created_at",
            sqlite_where=text("kind = 'external-processing'"),
            postgresql_where=text("kind = 'external-processing'"),
        ),
        Index(
            "ix_job_external_claimable",
            "organism",
            "pipeline_version",
            "state",
            "accession",
            "version",
            sqlite_where=text("kind = 'external-processing' AND state <> 'done'"),
            postgresql_where=text("kind = 'external-processing' AND state <> 'done'"),
        ),
        Index(
            "uq_job_external_open",
            "accession",
            "version",
            "pipeline_version",
            unique=True,
            sqlite_where=text("kind = 'external-processing' AND state <> 'done'"),
            postgresql_where=text("kind = 'external-processing' AND state <> 'done'"),
        ),
    )
    id: str = Field(primary_key=True)
    kind: str
    organism: str
    """Empty in a job of kind `import`, which is about no entry: about what stands in `pull.job_id`."""
    accession: str | None
    version: int | None
    pipeline_version: int
    state: str = JobState.QUEUED.value
    created_at: float
    not_before: float = Field(sa_column=Column(Float, nullable=False))
    finished_at: float | None = None
    attempt: int = 0
    """Counts every claim; the fence of all writes."""
    failures: int = 0
    """Claims that ended by our failure or by the death of the job's own child."""
    handbacks: int = 0
    """Claims that ended because a whole worker drained or died."""
    runs_alone: bool = False
    priority: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default=text("0")))
    """Less goes first: `readvault.domain.status.Priority`."""
    input_bytes: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    """The size of the files that the job reads, as it was when the job was written."""
    reprocessing_id: int | None = Field(default=None, sa_column=Column(Integer, nullable=True))
    """The reprocessing that wants it, or None."""
    lease_owner: str | None = None
    lease_until: float | None = None
    deliveries: int = 0
    run_id: str | None = None
    """The orchestrator's run of the last delivery; None = a new delivery is due."""
    delivered_at: float | None = None
    run_checked_at: float | None = None
    """When the orchestrator was last asked what became of the run."""
    run_idle_since: float | None = None
    """Since when the run is known to have started without a claim."""
    last_error: str | None = None


class StoredObject(SQLModel, table=True):
    """A processed file in the vault, once per group and content."""

    __tablename__ = "stored_object"
    __table_args__ = (UniqueConstraint("group_id", "sha256"),)
    id: int | None = Field(default=None, primary_key=True)
    group_id: int = Field(foreign_key="submitting_group.id")
    sha256: str
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    key: str = Field(sa_column=Column(KEY, nullable=False, index=True))
    version_id: str | None = None
    stored_at: float


class Manifest(SQLModel, table=True):
    """What processing made of an accession version under one pipeline version."""

    __tablename__ = "manifest"
    __table_args__ = (
        ForeignKeyConstraint(["accession", "version"], ["entry_version.accession", "entry_version.version"]),
        Index(
            "uq_manifest_current",
            "accession",
            "version",
            "pipeline_version",
            unique=True,
            sqlite_where=text("superseded_at IS NULL"),
            postgresql_where=text("superseded_at IS NULL"),
        ),
    )
    id: int | None = Field(default=None, primary_key=True)
    accession: str
    version: int
    pipeline_version: int
    digest: str
    """SHA-256 (hexadecimal) of `body`: what people approve."""
    body: str = Field(sa_column=Column(Text, nullable=False))
    """Canonical JSON, fit for everybody once it is released."""
    private_body: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    """Canonical JSON of the private document, whose digest stands in `body`. None: `body` has it inside (schema 1)."""
    processing_result: str
    errors: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    warnings: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    processed_data: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """Loculus's ProcessedData without `files`."""
    created_at: float
    superseded_at: float | None = None


class ManifestFile(SQLModel, table=True):
    """A processed file of a manifest."""

    __tablename__ = "manifest_file"
    manifest_id: int = Field(foreign_key="manifest.id", primary_key=True)
    category: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    file_id: str = Field(index=True)
    """What Loculus's clients see; a random UUID."""
    stored_object_id: int = Field(foreign_key="stored_object.id", index=True)
    may_be_public: bool = Field(default=True, sa_column=Column(Boolean, nullable=False, server_default=text("true")))
    """False: for the group only, even after release (originals, and what no screen understands)."""


class PartialResult(SQLModel, table=True):
    """What one part of a chain of pipelines made, until all parts are there and become one manifest."""

    __tablename__ = "partial_result"
    __table_args__ = (
        ForeignKeyConstraint(["accession", "version"], ["entry_version.accession", "entry_version.version"]),
    )
    accession: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    pipeline_version: int = Field(primary_key=True)
    source: str = Field(primary_key=True)
    """`readvault` or `external`."""
    body: str = Field(sa_column=Column(Text, nullable=False))
    """Canonical JSON of the part's own manifest, or of what the external pipeline sent."""
    processed_data: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    errors: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    warnings: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    files: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    created_at: float


class SentBack(SQLModel, table=True):
    """A reviewer's no to one result: it can't be approved until something about the entry has changed."""

    __tablename__ = "sent_back"
    manifest_id: int = Field(foreign_key="manifest.id", primary_key=True)
    reason: str
    sent_by: str
    sent_at: float
