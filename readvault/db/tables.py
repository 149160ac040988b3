"""The tables. Times are seconds since 1970 by the database's own clock (`db.clock`).

What is released never changes: triggers (`db.immutability`) refuse UPDATE and DELETE on `release`,
on the manifests, files and entry versions that are released, and on the audit log. What may change
later (terms, suppression) lives in tables of its own.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Float, ForeignKeyConstraint, Index, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from readvault.domain.status import JobState


class UserAccount(SQLModel, table=True):
    """A login of the built-in issuer. With an outside issuer this table stays empty."""

    __tablename__ = "user_account"
    name: str = Field(primary_key=True)
    password_hash: str
    roles: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    disabled: bool = False


class Group(SQLModel, table=True):
    """A group of submitters; all data belong to exactly one."""

    __tablename__ = "submitting_group"
    id: int | None = Field(default=None, primary_key=True)
    name: str
    institution: str
    address: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    contact_email: str
    created_at: float


class GroupMember(SQLModel, table=True):
    """Membership is full rights; it is read at each request."""

    __tablename__ = "group_member"
    group_id: int = Field(foreign_key="submitting_group.id", primary_key=True)
    user_name: str = Field(primary_key=True)


class UploadedFile(SQLModel, table=True):
    """One file that was requested, perhaps uploaded, perhaps sealed.

    Sealed = `sealed_at` set: key, S3 version ID and size are pinned for ever. `sha256` is what our
    own fetch computed; `declared_sha256` is the submitter's word.
    """

    __tablename__ = "uploaded_file"
    __table_args__ = (
        Index("ix_uploaded_file_own", "group_id", "sha256", "size"),
        Index("ix_uploaded_file_declared", "group_id", "declared_sha256"),
        Index("ix_uploaded_file_batch", "batch_id"),
        Index("ix_uploaded_file_window", "group_id", "requested_at"),
        Index(
            "ix_uploaded_file_open_of_group",
            "group_id",
            sqlite_where=text("sealed_at IS NULL"),
            postgresql_where=text("sealed_at IS NULL"),
        ),
        Index(
            "ix_uploaded_file_open_of_user",
            "uploader",
            sqlite_where=text("sealed_at IS NULL"),
            postgresql_where=text("sealed_at IS NULL"),
        ),
        Index(
            "ix_uploaded_file_expiry",
            "expires_at",
            sqlite_where=text("sealed_at IS NULL"),
            postgresql_where=text("sealed_at IS NULL"),
        ),
    )
    id: str = Field(primary_key=True)
    batch_id: str
    group_id: int = Field(foreign_key="submitting_group.id", index=True)
    uploader: str
    key: str
    content_type: str | None = None
    declared_size: int | None = Field(default=None, sa_column=Column(BigInteger))
    declared_sha256: str | None = None
    multipart_upload_id: str | None = None
    multipart_part_size: int | None = Field(default=None, sa_column=Column(BigInteger))
    multipart_completed: bool = False
    requested_at: float
    expires_at: float
    sealed_at: float | None = None
    version_id: str | None = None
    size: int | None = Field(default=None, sa_column=Column(BigInteger))
    sha256: str | None = None


class UploadUsage(SQLModel, table=True):
    """How many bytes of sealed files a group or a user has; its row is what reservations wait for."""

    __tablename__ = "upload_usage"
    scope: str = Field(primary_key=True)
    """`group:<id>` or `user:<name>`."""
    sealed_bytes: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class AccessionCounter(SQLModel, table=True):
    """The last number that became an accession; one row."""

    __tablename__ = "accession_counter"
    id: int = Field(default=1, primary_key=True)
    last: int = 0


class EntryVersion(SQLModel, table=True):
    """One accession version as it was submitted. Its status is derived, never stored."""

    __tablename__ = "entry_version"
    __table_args__ = (Index("ix_entry_version_listing", "organism", "group_id", "accession", "version"),)
    accession: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    organism: str
    group_id: int = Field(foreign_key="submitting_group.id")
    submission_id: str
    submitter: str
    submitted_at: float
    is_revocation: bool = False
    version_comment: str | None = None
    terms_type: str = "OPEN"
    restricted_until: str | None = None
    submitted_metadata: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    submitted_sequences: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    """Unaligned nucleotide sequences by FASTA ID."""


class EntryFile(SQLModel, table=True):
    """A submitted file of an accession version, under the submitter's own label."""

    __tablename__ = "entry_file"
    __table_args__ = (
        ForeignKeyConstraint(["accession", "version"], ["entry_version.accession", "entry_version.version"]),
    )
    accession: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    category: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    position: int
    """The place in the submitter's list, from 0."""
    file_id: str = Field(foreign_key="uploaded_file.id", index=True)


class StoredObject(SQLModel, table=True):
    """A processed file in the vault, once per group and content."""

    __tablename__ = "stored_object"
    __table_args__ = (UniqueConstraint("group_id", "sha256"),)
    id: int | None = Field(default=None, primary_key=True)
    group_id: int = Field(foreign_key="submitting_group.id")
    sha256: str
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    key: str
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
    """Canonical JSON."""
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


class Release(SQLModel, table=True):
    """The approval of an accession version; from its commit on the version is public."""

    __tablename__ = "release"
    __table_args__ = (
        ForeignKeyConstraint(["accession", "version"], ["entry_version.accession", "entry_version.version"]),
    )
    accession: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    manifest_id: int = Field(foreign_key="manifest.id", index=True)
    released_at: float
    approver: str
    digest_was_given: bool


class Job(SQLModel, table=True):
    """One thing to do; written in the transaction that needs it."""

    __tablename__ = "job"
    __table_args__ = (
        ForeignKeyConstraint(["accession", "version"], ["entry_version.accession", "entry_version.version"]),
        Index("ix_job_open", "state", "not_before"),
        Index("ix_job_entry", "accession", "version"),
    )
    id: str = Field(primary_key=True)
    kind: str
    organism: str
    accession: str
    version: int
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


class AuditEntry(SQLModel, table=True):
    """What a person or the system did. Each row holds the digest of the one before."""

    __tablename__ = "audit_log"
    id: int | None = Field(default=None, primary_key=True)
    at: float
    actor: str
    action: str
    subject: str
    details: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    previous_sha256: str
    sha256: str
