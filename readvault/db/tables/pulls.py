"""What submitters want us to fetch from their own S3, and how far that is."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, Text, false, text
from sqlmodel import Field, SQLModel

from readvault.db.tables.keys import KEY


class Pull(SQLModel, table=True):
    """One request. Where it is about a bucket, `endpoint`, `region` and `bucket` name it."""

    __tablename__ = "pull"
    __table_args__ = (
        Index("ix_pull_group", "group_id", "asked_at", "id"),
        Index(
            "ix_pull_open",
            "expires_at",
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )
    id: str = Field(primary_key=True)
    group_id: int = Field(foreign_key="submitting_group.id")
    asked_by: str
    asked_at: float
    expires_at: float
    """When it ends by itself, with its credentials."""
    state: str
    """`readvault.domain.pulls.PullState`."""
    ended_at: float | None = None
    endpoint: str | None = None
    region: str | None = None
    bucket: str | None = None
    prefix: str | None = Field(default=None, sa_column=Column(KEY, nullable=True))
    """Everything under it is pulled; None: the sources were named."""
    category: str | None = None
    """Of what is found under the prefix."""
    listed: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=false()))
    """Whether the prefix was listed: what is pulled never changes afterwards."""
    secret: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    """The credentials, encrypted; gone when the pull is over."""
    by_reference: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=false()))
    """Whether the files stay where they are, and are only read and hashed."""
    challenge_name: str | None = None
    challenge_content: str | None = None
    job_id: str | None = Field(default=None, unique=True)


class PullSource(SQLModel, table=True):
    """One file of a pull."""

    __tablename__ = "pull_source"
    __table_args__ = (Index("ix_pull_source_file", "file_id"),)
    pull_id: str = Field(primary_key=True, foreign_key="pull.id")
    number: int = Field(primary_key=True)
    """From 1."""
    name: str
    """The submitter's own name for it."""
    place: str = Field(sa_column=Column(KEY, nullable=False))
    """Its key in the bucket, or its URL without query."""
    secret: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    """The whole URL, encrypted, where it has a query; gone when the pull is over."""
    category: str | None = None
    expected_size: int | None = Field(default=None, sa_column=Column(BigInteger))
    expected_sha256: str | None = None
    state: str
    """`readvault.domain.pulls.SourceState`."""
    refusal: str | None = None
    reason: str | None = None
    failures: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default=text("0")))
    """How often it could not be reached."""
    size: int | None = Field(default=None, sa_column=Column(BigInteger))
    etag: str | None = None
    """With size and version ID what pins it: another one later is an error."""
    version_id: str | None = None
    bytes_done: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    sha256: str | None = None
    file_id: str | None = None
    """The uploaded file that it becomes."""


class ReferencedFile(SQLModel, table=True):
    """Where the bytes of an uploaded file lie that its group keeps in its own store. Only `secret` ever changes."""

    __tablename__ = "referenced_file"
    __table_args__ = (Index("ix_referenced_file_bucket", "endpoint", "bucket"),)
    file_id: str = Field(
        sa_column=Column(ForeignKey("uploaded_file.id", ondelete="CASCADE"), primary_key=True, nullable=False)
    )
    endpoint: str | None = None
    region: str | None = None
    bucket: str | None = None
    """None: `place` is a URL that everybody may read."""
    place: str = Field(sa_column=Column(KEY, nullable=False))
    etag: str
    version_id: str | None = None
    """The store's own, where it keeps versions."""
    referenced_at: float
    secret: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    """The credentials, encrypted, for as long as the file is referenced."""
