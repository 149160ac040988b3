"""Users, groups, and tokens for programs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel


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


class MachineToken(SQLModel, table=True):
    """A token of ours for a program: it acts for a user, with less than the user's rights, until it expires."""

    __tablename__ = "machine_token"
    id: str = Field(primary_key=True)
    name: str
    user_name: str = Field(index=True)
    token_sha256: str = Field(unique=True)
    """The token itself is told once and stored nowhere."""
    scopes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    group_id: int | None = Field(default=None, foreign_key="submitting_group.id")
    """Limits the token to one group."""
    created_at: float
    expires_at: float
    revoked_at: float | None = None
