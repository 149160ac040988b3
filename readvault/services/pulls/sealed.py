"""Submitters' credentials, encrypted with keys that the database doesn't have.

Each text is bound to what it belongs to: moved to another pull or source, it doesn't open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import ColumnElement, SQLColumnExpression

from readvault.config.pulls import PullSettings, decoded
from readvault.domain.errors import NotReady, ProcessingFailure

_FORM = "v1"
_NONCE_BYTES = 12


def conceal(settings: PullSettings, text: str, belongs_to: str) -> str:
    """Encrypt a text with the newest key (AES-256-GCM); raises NotReady without one."""
    if not settings.secret_keys:
        raise NotReady("pulls need a key (READVAULT_PULLS__SECRET_KEYS) to encrypt credentials with")
    key = decoded(settings.secret_keys[0])
    nonce = os.urandom(_NONCE_BYTES)
    hidden = AESGCM(key).encrypt(nonce, text.encode(), belongs_to.encode())
    return f"{_FORM}.{_name_of(key)}.{base64.urlsafe_b64encode(nonce + hidden).decode()}"


def reveal(settings: PullSettings, hidden: str, belongs_to: str) -> str:
    """Decrypt a text with the key that encrypted it; raises ProcessingFailure when that is gone, and for forgery."""
    form, _, rest = hidden.partition(".")
    name, _, content = rest.partition(".")
    keys = {_name_of(key): key for key in map(decoded, settings.secret_keys)}
    if form != _FORM or name not in keys:
        raise ProcessingFailure("import", "the key that encrypted the credentials is not in the settings")
    try:
        raw = base64.urlsafe_b64decode(content)
        return AESGCM(keys[name]).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], belongs_to.encode()).decode()
    except (InvalidTag, binascii.Error, ValueError):
        raise ProcessingFailure("import", "integrity: the encrypted credentials were altered") from None


def fingerprint(settings: PullSettings, told: str) -> str:
    """What tells two texts apart and lets nobody without the newest key try which text it was (hexadecimal)."""
    return hmac.new(decoded(settings.secret_keys[0]), b"readvault fingerprint" + told.encode(), "sha256").hexdigest()


def _name_of(key: bytes) -> str:
    """Which key it is, without saying anything of it."""
    return hashlib.sha256(b"readvault key name" + key).hexdigest()[:8]


def is_newest(settings: PullSettings, hidden: SQLColumnExpression[str | None]) -> ColumnElement[bool]:
    """SQL: whether a text was encrypted with the newest key."""
    return hidden.startswith(f"{_FORM}.{_name_of(decoded(settings.secret_keys[0]))}.")


def of_pull(pull_id: str) -> str:
    """What a bucket's credentials belong to."""
    return f"pull {pull_id}"


def of_source(pull_id: str, number: int) -> str:
    """What a source's URL belongs to."""
    return f"pull {pull_id} source {number}"


def of_referenced(file_id: str) -> str:
    """What the credentials belong to with which a referenced file is read."""
    return f"referenced file {file_id}"
