"""Uploaded files and how much there may be of them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, false, text
from sqlmodel import Field, SQLModel

from readvault.db.tables.keys import KEY


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
        Index("ix_uploaded_file_user_window", "uploader", "requested_at"),
        Index(
            "ix_uploaded_file_open_of_group",
            "group_id",
            "expires_at",
            sqlite_where=text("sealed_at IS NULL"),
            postgresql_where=text("sealed_at IS NULL"),
        ),
        Index(
            "ix_uploaded_file_open_of_user",
            "uploader",
            "expires_at",
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
    key: str = Field(sa_column=Column(KEY, nullable=False, index=True))
    content_type: str | None = None
    declared_size: int | None = Field(default=None, sa_column=Column(BigInteger))
    declared_sha256: str | None = None
    multipart_upload_id: str | None = None
    """S3's ID of an upload in parts; empty before S3 was asked for one."""
    multipart_part_size: int | None = Field(default=None, sa_column=Column(BigInteger))
    multipart_completed: bool = False
    part_hashes: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=false()))
    """Whether each part is signed with its SHA-256."""
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


class LimitOverride(SQLModel, table=True):
    """Another limit than the instance's for one group or user; None leaves the instance's."""

    __tablename__ = "limit_override"
    scope: str = Field(primary_key=True)
    """`group:<id>` or `user:<name>`."""
    bytes_total: int | None = Field(default=None, sa_column=Column(BigInteger))
    bytes_per_window: int | None = Field(default=None, sa_column=Column(BigInteger))
    open_files: int | None = None
    reason: str
    set_by: str
    set_at: float
