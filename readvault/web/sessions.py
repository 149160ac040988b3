"""Who looks at a page: a cookie that holds a short-lived token, and the proof that a form was on a page of ours."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from fastapi import Request, Response

from readvault.domain.actor import Actor
from readvault.domain.errors import Forbidden, ReadvaultError

MAX_COOKIE_BYTES = 4000
"""Browsers drop larger cookies without a word."""

_NOT_OURS = "This form was not sent from a page of ours, or you logged in again since. Please try again."


class LoginNeeded(ReadvaultError):
    """Nobody is logged in, or not any more."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody who is logged in, and the proof that goes into every form of theirs."""

    actor: Actor
    csrf: str


class Cookies:
    """Sets and reads our cookies: never readable by scripts, never sent along by other sites.

    Over HTTPS they are `Secure` and their names begin with `__Host-`, so that no neighbouring
    domain can plant one.
    """

    def __init__(self, *, https: bool) -> None:
        self._https = https
        prefix = "__Host-" if https else ""
        self.session = f"{prefix}readvault-session"
        """Holds the access token."""
        self.login = f"{prefix}readvault-login"
        """Holds what ties a login form, or the way to the identity provider and back, to one browser."""

    def set(self, response: Response, name: str, value: str, seconds: int, *, from_elsewhere: bool = False) -> None:
        """Set a cookie for so many seconds; `from_elsewhere`: it comes along when another site leads here."""
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path="/",
            secure=self._https,
            httponly=True,
            samesite="lax" if from_elsewhere else "strict",
        )

    def drop(self, response: Response, name: str) -> None:
        """Forget a cookie."""
        response.delete_cookie(name, path="/", secure=self._https, httponly=True, samesite="strict")


def csrf_of(secret: str) -> str:
    """The proof that a form was on our page: only who knows the cookie can make it, and it doesn't tell the cookie.

    Without a cookie there is no proof: raises Forbidden, as everybody knows the empty one.
    """
    if not secret:
        raise Forbidden(_NOT_OURS)
    return hmac.new(secret.encode(), b"readvault form", hashlib.sha256).hexdigest()


def demand_own_form(request: Request, expected: str, given: str) -> None:
    """Refuse a form that another site sent; raises Forbidden."""
    sent_from = request.headers.get("sec-fetch-site", "same-origin")
    if sent_from not in ("same-origin", "none") or not hmac.compare_digest(expected.encode(), given.encode()):
        raise Forbidden(_NOT_OURS)
