"""Logins of the built-in issuer."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy.exc import IntegrityError

from readvault.db import audit, drop_ends, pull_ends
from readvault.db.tables import UserAccount
from readvault.domain.actor import EXTERNAL_METADATA_ROLE, MAINTAINER_ROLE, PIPELINE_ROLE, Actor
from readvault.domain.errors import BadRequest, Conflict, NotFound
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.people import tokens

ROLES = frozenset({MAINTAINER_ROLE, PIPELINE_ROLE, EXTERNAL_METADATA_ROLE})
SYSTEM = "readvault"
"""Who adds accounts: whoever may run commands on the machine."""

_COST, _BLOCK, _LANES = 2**14, 8, 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")


def create_account(house: House, name: str, password: str, roles: Iterable[str] = ()) -> Actor:
    """Add a login; raises Conflict when the name is taken, BadRequest for an unusable name, password or role."""
    if _NAME.fullmatch(name) is None:
        raise BadRequest(
            "A user name has up to 128 of the characters A-Z a-z 0-9 . _ @ - and starts with a letter or digit."
        )
    if not password:
        raise BadRequest("A password can't be empty.")
    actor = Actor(name, frozenset(roles))
    if unknown := sorted(actor.roles - ROLES):
        raise BadRequest(f"Unknown roles: {', '.join(unknown)}. There are: {', '.join(sorted(ROLES))}.")
    hashed = _hash(password)
    try:
        with house.sessions.begin() as session:
            session.add(UserAccount(name=name, password_hash=hashed, roles=sorted(actor.roles)))
            session.flush()
            audit.append(session, SYSTEM, "add user", f"user {name}", {"roles": sorted(actor.roles)})
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


def refuse_unknown(house: House, name: str) -> None:
    """Raise NotFound for a user whom the built-in issuer doesn't let in; an outside issuer's users are not ours."""
    if house.settings.identity.embedded and find_account(house, name) is None:
        raise NotFound(f"User {name} does not exist.")


def as_of_now(house: House, actor: Actor) -> Actor | None:
    """The user of a token of the built-in issuer, with the roles that are left since it was issued; None if disabled.

    Tokens live for hours, but whoever loses an account or a role loses it at the next request.
    """
    with house.sessions.read() as session:
        account = session.get(UserAccount, actor.name)
    if account is None:
        return actor
    return None if account.disabled else replace(actor, roles=actor.roles & frozenset(account.roles))


def disable_account(house: House, actor: Actor, name: str) -> int:
    """Let a user in no more: no login, no refresh, no token counts from the next request on; how many tokens ended.

    With an outside issuer there is no account to disable; the user's machine tokens end all the
    same. Raises NotFound for an unknown user of the built-in issuer, Forbidden for all but maintainers.
    """
    with house.sessions.begin() as session:
        authorize(session, actor, Action.MAINTAIN)
        account = session.get(UserAccount, name, with_for_update=True)
        if account is None and house.settings.identity.embedded:
            raise NotFound(f"User {name} does not exist.")
        if account is not None:
            account.disabled = True
        ended = tokens.revoke_all_of(session, name)
        links = drop_ends.end_links_of(session, name)
        pulls = pull_ends.end_pulls_of(session, name)
        audit.append(session, actor.name, "disable user", f"user {name}", {"tokensEnded": ended})
        drop_ends.write_down(session, actor.name, links)
        pull_ends.write_down(session, actor.name, pulls)
        return ended


def set_password(house: House, actor: Actor, name: str, password: str, *, enable: bool = False) -> None:
    """Replace a user's password; `enable` lets a disabled one in again (its machine tokens stay revoked).

    Raises NotFound for an unknown user, BadRequest for an empty password, Forbidden for all but maintainers.
    """
    if not password:
        raise BadRequest("A password can't be empty.")
    hashed = _hash(password)
    with house.sessions.begin() as session:
        authorize(session, actor, Action.MAINTAIN)
        account = session.get(UserAccount, name, with_for_update=True)
        if account is None:
            raise NotFound(f"User {name} does not exist.")
        account.password_hash = hashed
        account.disabled = account.disabled and not enable
        audit.append(session, actor.name, "set password", f"user {name}", {"enabled": not account.disabled})


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
