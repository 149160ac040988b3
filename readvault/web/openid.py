"""Logging in at an outside identity provider: OpenID Connect, authorization code with PKCE.

Nothing of an attempt is kept here: state, nonce and verifier travel in a cookie of the browser that
began it, so that only that browser can end it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

from readvault.adapters.identity import Identity, InvalidToken
from readvault.domain.errors import Forbidden, Unavailable

TIMEOUT = 10.0
ATTEMPT_SECONDS = 600
"""How long somebody may take to log in."""
_REFUSED = "The identity provider didn't confirm this login. Please try again."


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login that has begun: what only this browser and the identity provider know."""

    state: str
    nonce: str
    verifier: str
    then: str
    """The page that was wanted."""

    def as_cookie(self) -> str:
        """The attempt as a cookie's value."""
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode().rstrip("=")

    @classmethod
    def of_cookie(cls, value: str) -> Attempt:
        """The attempt that a browser brought back; raises Forbidden for anything else."""
        try:
            content = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
            attempt = cls(**content)
        except (ValueError, TypeError):
            raise Forbidden("This login was begun in another browser, or too long ago. Please try again.") from None
        if not all(isinstance(part, str) for part in asdict(attempt).values()):
            raise Forbidden("This login was begun in another browser, or too long ago. Please try again.")
        return attempt


class OpenIdClient:
    """We, as a public client of an outside issuer."""

    def __init__(
        self,
        identity: Identity,
        *,
        issuer: str,
        client_id: str,
        redirect_uri: str,
        http: Callable[[], httpx.Client] = lambda: httpx.Client(timeout=TIMEOUT, follow_redirects=False),
    ) -> None:
        self._identity = identity
        self._issuer = issuer
        self._client_id = client_id
        self._redirect_uri = redirect_uri
        self._http = http
        self._lock = threading.Lock()
        self._places: dict[str, str] | None = None

    def begin(self, then: str) -> tuple[str, Attempt]:
        """The address of the issuer's login page, and the attempt to remember; raises Unavailable."""
        attempt = Attempt(_random(), _random(), _random(), then)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": "openid profile",
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        page = self._discovered()["authorization_endpoint"]
        return f"{page}{'&' if '?' in page else '?'}{urlencode(asked)}", attempt

    def finish(self, attempt: Attempt, *, state: str, code: str) -> tuple[str, int]:
        """The access token of who logged in, and for how many seconds it lasts.

        Raises Forbidden for another browser's state, a code that the issuer refuses or an ID token
        that isn't the answer to this attempt; Unavailable when the issuer can't be reached.
        """
        if not code or not hmac.compare_digest(attempt.state.encode(), state.encode()):
            raise Forbidden(_REFUSED)
        answer = self._exchanged(code, attempt.verifier)
        access, id_token, seconds = (answer.get(key) for key in ("access_token", "id_token", "expires_in"))
        if not isinstance(access, str) or not isinstance(id_token, str):
            raise Forbidden(_REFUSED)
        try:
            claims = self._identity.claims_of_id_token(id_token, self._client_id)
            actor = self._identity.actor(f"Bearer {access}")
        except InvalidToken:
            raise Forbidden(_REFUSED) from None
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), attempt.nonce.encode()):
            raise Forbidden(_REFUSED)
        if actor is None or claims.get("preferred_username", actor.name) != actor.name:
            raise Forbidden(_REFUSED)
        return access, seconds if isinstance(seconds, int) and seconds > 0 else 300

    def _exchanged(self, code: str, verifier: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "client_id": self._client_id,
            "code_verifier": verifier,
        }
        with self._http() as http:
            try:
                answer = http.post(self._discovered()["token_endpoint"], data=form)
            except httpx.HTTPError:
                raise Unavailable("The identity provider can't be reached right now.") from None
        if answer.status_code >= 500:
            raise Unavailable("The identity provider can't be reached right now.")
        content = _json(answer)
        if answer.status_code != 200:
            raise Forbidden(_REFUSED)
        return content

    def _discovered(self) -> dict[str, str]:
        """Where the issuer's pages are, as it says itself; asked once."""
        with self._lock:
            if self._places is None:
                with self._http() as http:
                    try:
                        address = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
                        content = _json(http.get(address))
                    except httpx.HTTPError:
                        raise Unavailable("The identity provider can't be reached right now.") from None
                places = {key: content.get(key) for key in ("issuer", "authorization_endpoint", "token_endpoint")}
                if places["issuer"] != self._issuer or not all(
                    isinstance(place, str) and place.startswith(("https://", "http://")) for place in places.values()
                ):
                    raise Unavailable("The identity provider's description of itself can't be used.")
                self._places = {key: str(place) for key, place in places.items()}
            return self._places


def _random() -> str:
    return secrets.token_urlsafe(32)


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        content = None
    return content if isinstance(content, dict) else {}
