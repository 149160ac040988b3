"""The keys that an outside issuer publishes: found by discovery, kept, fetched anew, good for a while without it."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx

from readvault.adapters.tokens import KEY_UNKNOWN, InvalidToken, PublishedKey
from readvault.domain.errors import NotReady, Unavailable

log = logging.getLogger(__name__)

TIMEOUT = 5.0
"""Seconds for one document, from the first byte that we send to the last one that we get."""
LARGEST_DOCUMENT = 512 * 1024
MOST_KEYS = 100
MOST_REDIRECTS = 3
RETRY_AFTER = 5.0
UNKNOWN_KEY_EVERY = 30.0
"""Seconds between two fetches for key IDs that nobody knows: forged ones must not make us hammer the issuer."""
DISCOVERY = "/.well-known/openid-configuration"
_DOWN = "The identity provider can't be reached right now."


class _Failed(Exception):
    """A document could not be had; the text names no address."""


class PublishedKeys:
    """The keys of an issuer, by `jwks_url`, else by discovery from `issuer`.

    They are fetched when the first token comes, and anew every `lifespan` seconds and for a key ID that
    is new (keys rotate). While the issuer can't be reached, keys that were fetched at most `outlive`
    seconds ago still count.
    """

    def __init__(
        self,
        jwks_url: str | None = None,
        *,
        issuer: str | None = None,
        timeout: float = TIMEOUT,
        lifespan: float = 300.0,
        outlive: float = 86_400.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, address in (("identity.jwks_url", jwks_url), ("identity.issuer", None if jwks_url else issuer)):
            if address is not None and not _is_web_address(address):
                raise NotReady(f"{name} must be an http or https address")
        self._jwks_url, self._issuer = jwks_url, issuer
        self._timeout, self._lifespan, self._outlive, self._clock = timeout, lifespan, outlive, clock
        self._lock = threading.Lock()
        self._keys: dict[str, PublishedKey] = {}
        self._fetched: float | None = None
        self._tried: float | None = None
        self._reachable = True

    def key(self, key_id: str) -> PublishedKey:
        """The key with this ID; raises InvalidToken for an unknown one, Unavailable when nobody answers."""
        somebody_asks = self._refresh_if_due(key_id)
        age = self._age()
        if age is None or age > self._lifespan + self._outlive:
            raise Unavailable(_DOWN)
        found = self._keys.get(key_id)
        if found is not None:
            return found
        if somebody_asks or not self._reachable:
            raise Unavailable(_DOWN)
        raise InvalidToken(KEY_UNKNOWN)

    def published(self) -> dict[str, PublishedKey]:
        """The keys that the issuer publishes now; raises Unavailable, with what is wrong, when they can't be had."""
        try:
            return self._fetch_keys()
        except _Failed as fault:
            raise Unavailable(str(fault)) from None

    def _age(self) -> float | None:
        return None if self._fetched is None else self._clock() - self._fetched

    def _is_due(self, key_id: str) -> bool:
        since = None if self._tried is None else self._clock() - self._tried
        if since is None:
            return True
        if not self._reachable:
            return since >= RETRY_AFTER
        age = self._age()
        return age is None or age >= self._lifespan or (key_id not in self._keys and since >= UNKNOWN_KEY_EVERY)

    def _refresh_if_due(self, key_id: str) -> bool:
        """Fetch the keys if it is time; whether another thread is about it.

        Nobody waits for that thread, except for the very first keys: or forged key IDs could hold up
        all threads behind an issuer that is slow.
        """
        if not self._is_due(key_id):
            return False
        if not self._lock.acquire(blocking=self._tried is None):
            return True
        try:
            if self._is_due(key_id):
                self._refresh()
        finally:
            self._lock.release()
        return False

    def _refresh(self) -> None:
        try:
            keys = self._fetch_keys()
        except _Failed as fault:
            log.warning("the keys of the identity provider can't be fetched: %s", fault)
            self._reachable = False
        else:
            self._keys, self._fetched, self._reachable = keys, self._clock(), True
        finally:
            self._tried = self._clock()

    def _fetch_keys(self) -> dict[str, PublishedKey]:
        published = self._document(self._jwks_url or self._discovered()).get("keys")
        if not isinstance(published, list):
            raise _Failed("the answer has no keys")
        found: dict[str, PublishedKey] = {}
        for jwk in published[:MOST_KEYS]:
            try:
                key = PublishedKey.of(jwk)
            except (ValueError, AttributeError):  # of another use or kind: issuers publish such keys too
                continue
            found.setdefault(key.key_id, key)
        if not found:
            raise _Failed("none of the published keys can be used")
        return found

    def _discovered(self) -> str:
        """Where the issuer says that its keys are."""
        assert self._issuer is not None
        document = self._document(self._issuer.rstrip("/") + DISCOVERY)
        if document.get("issuer") != self._issuer:
            raise _Failed("the discovery document is another issuer's")
        address = document.get("jwks_uri")
        if not isinstance(address, str) or not _is_web_address(address):
            raise _Failed("the discovery document names no address of keys")
        if self._issuer.startswith("https:") and not address.startswith("https:"):
            raise _Failed("the discovery document leads from https to http")
        return address

    def _document(self, address: str) -> dict[str, Any]:
        deadline = time.monotonic() + self._timeout
        origin = _origin(address)
        try:
            with httpx.Client(timeout=self._timeout) as client:
                for _ in range(MOST_REDIRECTS + 1):
                    with client.stream("GET", address, headers={"Accept": "application/json"}) as answer:
                        if not answer.is_redirect:
                            return _json(answer, deadline)
                        address = str(answer.url.join(answer.headers.get("location", "")))
                    if _origin(address) != origin:
                        raise _Failed("a redirect to another host is not followed")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as fault:
            raise _Failed(type(fault).__name__) from fault
        raise _Failed("too many redirects")


def _json(answer: httpx.Response, deadline: float) -> dict[str, Any]:
    if answer.status_code != httpx.codes.OK:
        raise _Failed(f"status {answer.status_code}")
    content = bytearray()
    for block in answer.iter_bytes(65_536):
        content += block
        if len(content) > LARGEST_DOCUMENT:
            raise _Failed("the answer is too long")
        if time.monotonic() > deadline:
            raise _Failed("the answer takes too long")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as fault:
        raise _Failed("the answer is no JSON") from fault
    if not isinstance(found, dict):
        raise _Failed("the answer is no JSON object")
    return found


def _is_web_address(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _origin(address: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port
