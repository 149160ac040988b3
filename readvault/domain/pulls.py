"""Pulls: files that we fetch from a submitter's own S3, and how that can end."""

from __future__ import annotations

from enum import StrEnum

from readvault.domain.errors import ReadvaultError


class PullState(StrEnum):
    """Where a pull is."""

    AWAITS_PROOF = "awaits proof"
    """Until the challenge object lies beside the sources and somebody says so."""
    OPEN = "open"
    """It waits for a worker, or one is at it."""
    DONE = "done"
    """Every source was copied or has failed."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"


OVER = frozenset({PullState.DONE, PullState.CANCELLED, PullState.EXPIRED})
"""States in which nothing more is pulled, and no credential is kept."""


class SourceState(StrEnum):
    """Where one source of a pull is."""

    WAITING = "waiting"
    PULLING = "pulling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Refusal(StrEnum):
    """Why a source failed, in a word that programs can compare."""

    ADDRESS = "address not allowed"
    DENIED = "access denied"
    MISSING = "not found"
    REDIRECT = "redirect"
    NOT_PINNABLE = "cannot be pinned"
    CHANGED = "changed meanwhile"
    WRONG_SIZE = "wrong size"
    WRONG_HASH = "wrong SHA-256"
    TOO_LARGE = "too large"
    LIMIT = "limit reached"
    NO_PROOF = "no proof"
    BAD_ANSWER = "bad answer"
    AWAY = "cannot be reached"
    EXPIRED = "time is up"


class SourceRefused(ReadvaultError):
    """A source can't be pulled and trying again would not help: the submitter's to mend.

    The message is for the submitter. It quotes neither address nor key nor anything that the source sent.
    """

    def __init__(self, refusal: Refusal, message: str) -> None:
        self.refusal = refusal
        super().__init__(message)

    def __reduce__(self) -> tuple[type[SourceRefused], tuple[Refusal, str]]:
        return (type(self), (self.refusal, str(self)))


class SourceAway(ReadvaultError):
    """A source can't be reached, is too slow or broke off: another try may help."""
