"""Logins of the built-in issuer."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable

from sqlalchemy.exc import IntegrityError

from readvault.db.tables import UserAccount
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Conflict
from readvault.services.house import House

_COST, _BLOCK, _LANES = 2**14, 8, 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")


def create_account(house: House, name: str, password: str, roles: Iterable[str] = ()) -> Actor:
    """Add a login; raises Conflict when the name is taken, BadRequest for an unusable name or password."""
    if _NAME.fullmatch(name) is None:
        raise BadRequest(
            "A user name has up to 128 of the characters A-Z a-z 0-9 . _ @ - and starts with a letter or digit."
        )
    if not password:
        raise BadRequest("A password can't be empty.")
    actor = Actor(name, frozenset(roles))
    try:
        with house.sessions.begin() as session:
            session.add(UserAccount(name=name, password_hash=_hash(password), roles=sorted(actor.roles)))
    except IntegrityError:
        raise Conflict(f"User {name} exists already.") from None
    return actor


def verify_password(house: House, name: str, password: str) -> Actor | None:
    """The user of that name and password, or None. Takes as long for an unknown name as for a wrong password."""
    with house.sessions.read() as session:
        account = session.get(UserAccount, name)
    matches = _matches(password, _NOBODY if account is None else account.password_hash)
    if account is None or account.disabled or not matches:
        return None
    return Actor(account.name, frozenset(account.roles))


def find_account(house: House, name: str) -> Actor | None:
    """The enabled user of that name with the roles it has now (for refreshing a token), or None."""
    with house.sessions.read() as session:
        account = session.get(UserAccount, name)
    return None if account is None or account.disabled else Actor(account.name, frozenset(account.roles))


def _hash(password: str) -> str:
    salt = secrets.token_bytes(16)
    return f"scrypt${_COST}${_BLOCK}${_LANES}${salt.hex()}${_scrypt(password, salt, _COST, _BLOCK, _LANES).hex()}"


def _matches(password: str, stored: str) -> bool:
    _, cost, block, lanes, salt, expected = stored.split("$")
    computed = _scrypt(password, bytes.fromhex(salt), int(cost), int(block), int(lanes))
    return hmac.compare_digest(computed, bytes.fromhex(expected))


def _scrypt(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=lanes, maxmem=2**26)


_NOBODY = f"scrypt${_COST}${_BLOCK}${_LANES}${'00' * 16}${'00' * 64}"
