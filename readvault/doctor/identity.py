"""Probes of who says who people are: is the issuer there, and are its keys fit for what we accept?"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError
from sqlmodel import col, func, select

from readvault.adapters.published_keys import PublishedKeys
from readvault.config import Settings
from readvault.db.engine import Sessions, create_engine
from readvault.db.tables import UserAccount
from readvault.doctor.findings import Finding, Level
from readvault.domain.errors import Unavailable


def trust(settings: Settings) -> Iterator[Finding]:
    """Whose word counts, as the settings tell: the built-in issuer's is for one machine."""
    chosen = settings.identity
    if chosen.embedded:
        message = "the built-in issuer makes the logins: for one machine only"
        advice = "Use an OpenID Connect issuer of yours (READVAULT_IDENTITY__ISSUER) for more than trying out."
        yield Finding("identity", Level.WARN, message, advice, refused=True)
    elif chosen.issuer is None or chosen.audience is None:
        lacking = "issuer" if chosen.issuer is None else "audience"
        message = f"no {lacking} is demanded of tokens: those that the same keys sign for others are taken too"
        advice = f"Set READVAULT_IDENTITY__{lacking.upper()}."
        yield Finding("identity", Level.WARN, message, advice, refused=chosen.issuer is None)


def identity(settings: Settings) -> Iterator[Finding]:
    """Look for the issuer's keys, as the API does when the first token comes."""
    yield from trust(settings)
    chosen = settings.identity
    if chosen.embedded:
        return
    try:
        keys = PublishedKeys(chosen.jwks_url, issuer=chosen.issuer).published()
    except Unavailable as fault:
        advice = "Until it answers nobody can log in (503). See that we reach it, and that its certificate is known."
        yield Finding("identity", Level.FAIL, f"the issuer's keys can't be had: {fault}", advice)
        return
    fit = {name for name in chosen.algorithms if any(key.fits(name) for key in keys.values())}
    if not fit:
        message = f"none of its {len(keys)} keys is for {', '.join(chosen.algorithms)}"
        yield Finding("identity", Level.FAIL, message, "Set READVAULT_IDENTITY__ALGORITHMS to what it signs with.")
    else:
        yield Finding("identity", Level.OK, f"the issuer answers with {len(keys)} keys, for {', '.join(sorted(fit))}")


def left_logins(settings: Settings) -> Iterator[Finding]:
    """Logins of the built-in issuer that are left though another one serves: tokens that they made live on."""
    if settings.identity.embedded:
        return
    engine = create_engine(settings.database)
    try:
        with Sessions(engine).read() as session:
            open_ones = select(func.count()).select_from(UserAccount).where(~col(UserAccount.disabled))
            left = session.exec(open_ones).one()
    except DBAPIError:
        return  # the probe of the database tells
    finally:
        engine.dispose()
    if left:
        message = f"{left} logins of the built-in issuer are still open: tokens that they made live on"
        yield Finding("identity", Level.WARN, message, "readvault admin disable-user NAME for each.", refused=True)
