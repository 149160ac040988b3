"""Pulls: files that we fetch from a submitter's own S3, and how that can end."""

from __future__ import annotations

import urllib.parse
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


_SIGNATURES = frozenset({"x-amz-signature", "x-goog-signature", "signature", "sig"})
_OF_SIGNATURES = _SIGNATURES | {"awsaccesskeyid", "googleaccessid", "expires", "policy", "key-pair-id"}
_PREFIXES = ("x-amz-", "x-goog-", "response-")
"""The last of them S3 takes from nobody without a signature, so it would hide that everybody can read the object."""


def is_signed(url: str) -> bool:
    """Whether a URL's query holds a signature: anything else in it everybody could write.

    >>> is_signed("https://h.example/b/r?X-Amz-Signature=1"), is_signed("https://h.example/b/r?versionId=1")
    (True, False)
    """
    return any(name in _SIGNATURES for name, _ in _parameters(url))


def unsigned(url: str) -> str:
    """The URL without what signs it, as everybody could ask for the same object.

    >>> unsigned("https://h.example/b/r?versionId=1&X-Amz-Date=2&X-Amz-Signature=3")
    'https://h.example/b/r?versionId=1'
    """
    kept = [part for name, part in _parameters(url) if name not in _OF_SIGNATURES and not name.startswith(_PREFIXES)]
    return "?".join([url.partition("?")[0], *filter(None, ["&".join(kept)])])


def _parameters(url: str) -> list[tuple[str, str]]:
    parts = url.partition("?")[2].split("&")
    return [(urllib.parse.unquote(part.partition("=")[0]).lower(), part) for part in parts if part]


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
