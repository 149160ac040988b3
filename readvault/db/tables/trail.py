"""What people did: the audit log, URLs given out, requests that may be sent again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column, Index
from sqlmodel import Field, SQLModel


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


class FileAccess(SQLModel, table=True):
    """One pre-signed URL of a file that is not public: who got it, when, and what for."""

    __tablename__ = "file_access"
    __table_args__ = (Index("ix_file_access_file", "file_id", "id"),)
    id: int | None = Field(default=None, primary_key=True)
    at: float
    actor: str
    file_id: str
    accession: str
    version: int
    category: str
    purpose: str
    reason: str | None = None
    audit_id: int = Field(foreign_key="audit_log.id")
    """The row of the hash-chained log that names this URL's file."""


class IdempotentRequest(SQLModel, table=True):
    """The answer to a request that may be sent again, written in the transaction that did what was asked."""

    __tablename__ = "idempotent_request"
    user_name: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    purpose: str
    fingerprint: str
    """SHA-256 (hexadecimal) of what was asked."""
    answer: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """No URL and no secret: what is signed is signed anew."""
    at: float = Field(index=True)
