"""Drop links, and the files that came through them."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index
from sqlmodel import Field, SQLModel


class DropLink(SQLModel, table=True):
    """A link whose holder may deliver files for one group, and do nothing else."""

    __tablename__ = "drop_link"
    id: str = Field(primary_key=True)
    group_id: int = Field(foreign_key="submitting_group.id", index=True)
    organism: str | None = None
    """The one organism whose entries may take its files; None: any."""
    label: str
    token_sha256: str = Field(unique=True)
    """The token itself is told once and stored nowhere."""
    categories: list[str] | None = Field(default=None, sa_column=Column(JSON))
    formats: list[str] | None = Field(default=None, sa_column=Column(JSON))
    bytes_quota: int = Field(sa_column=Column(BigInteger, nullable=False))
    objects_quota: int
    used_bytes: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    """Delivered and reserved, later versions of form uploads too; only what never came is given back."""
    used_objects: int = 0
    created_by: str = Field(index=True)
    by_maintainer: bool = False
    """Whether who made it was no member of the group but a maintainer."""
    created_at: float
    expires_at: float
    revoked_at: float | None = None


class DroppedFile(SQLModel, table=True):
    """One file that the holder of a link announced, perhaps delivered, that perhaps became part of an entry.

    Its upload is an ordinary row of `uploaded_file`, which knows when an unclaimed one expires.
    """

    __tablename__ = "dropped_file"
    __table_args__ = (
        Index("ix_dropped_file_group", "group_id", "state", "object_name"),
        Index("ix_dropped_file_link", "link_id", "state"),
        Index("ix_dropped_file_state", "state", "object_name"),
    )
    object_name: str = Field(primary_key=True)
    """Random, of ours: the last part of its key, and what metadata name it by."""
    link_id: str = Field(foreign_key="drop_link.id")
    group_id: int
    file_id: str = Field(unique=True)
    label: str
    """The holder's file name."""
    category: str | None = None
    """What the holder says it is for."""
    way: str
    """`put`, `parts` or `form`."""
    state: str
    """`open`, `unclaimed`, `claimed`, `discarded` or `expired`."""
    reserved_bytes: int = Field(sa_column=Column(BigInteger, nullable=False))
    charged_versions: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    """Later versions that the link was charged for; only a form upload can have some."""
    size: int | None = Field(default=None, sa_column=Column(BigInteger))
    version_id: str | None = None
    """The first version under its key, as it was when it arrived."""
    announced_at: float
    arrived_at: float | None = None
    ended_at: float | None = None
    """When it was claimed, discarded or found expired."""
    settle_until: float | None = None
    """Of a form upload: until when later versions may come. None once that was looked at for the last time."""
