"""What happens to every request before and after its route: ID, headers, gate, size cap."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from readvault.api.authentication import Callers
from readvault.api.errors import answer
from readvault.domain.errors import BadRequest, TooLarge, Unauthenticated, Unavailable

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Set unless the route set its own. Answers may hold pre-signed URLs: they are stored and referred to nowhere."""

MAX_DIGITS = 18
"""Of a declared length; Python refuses to read thousands of digits as a number."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ANYBODY = re.compile(
    r"/|/api-docs|/actuator/health(/liveness|/readiness)?|/loculus-info|/groups/[^/]+|/data-use-terms/[^/]+|/files/(get|released)/.+"
    r"|/[^/]+/(get-released-data|get-silo-reads(/.+)?|metadata-template|lapis/sample/.+|manifests?/[^/]+/[^/]+|manifests)"
)
_LOGIN = re.compile(r"/realms/loculus/.+|/web/(login|logout|callback)")
_HOLDERS = re.compile(r"/drop(/.+)?")
"""Of drop links: nobody's account. Their routes look at the link's token themselves."""
_PAGES = re.compile(r"/web(/|/(organisms|groups|pulls|static|maintain)/.+|/maintain/?|/drop)?")
"""Pages know people by a cookie of their own, and send strangers to the login."""


def is_public(method: str, path: str) -> bool:
    """Whether a request needs no token. Everything that isn't listed here needs one.

    >>> is_public("GET", "/files/get/LOC_000001Y/1/consensus/c.fasta"), is_public("POST", "/files/request-upload")
    (True, False)
    """
    if method == "OPTIONS" or _LOGIN.fullmatch(path) or _PAGES.fullmatch(path) or _HOLDERS.fullmatch(path):
        return True
    return method in ("GET", "HEAD") and _ANYBODY.fullmatch(path) is not None


class RequestContext:
    """Gives every request an ID, every answer its headers, and every fault beyond the routes an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        sent = request.headers.get("x-request-id", "")
        request_id = sent if _REQUEST_ID.fullmatch(sent) else str(uuid.uuid4())
        request.state.request_id = request_id
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as fault:
            response = answer(fault, scope["path"], request_id)
            if started:
                # Half an answer is out already: cut the connection, so that nobody takes it for a whole one.
                raise ConnectionAbortedError("the answer broke off") from None
            await response(scope, receive, send_with_headers)


class Gate:
    """Finds out who is asking. Refuses bad tokens everywhere, and anonymous requests to all that isn't public.

    It stands before the routes, so that a stranger's body is never read and a new route is private
    until somebody says otherwise.
    """

    def __init__(self, app: ASGIApp, callers: Callers) -> None:
        self._app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            query = scope.get("query_string", b"")
            if "\x00" in scope["path"] or b"%00" in query:
                raise BadRequest("NUL characters are not allowed.")
            if not query.isascii():  # not every server refuses such a request itself
                raise BadRequest("The query of a URL is ASCII.")
            header = request.headers.get("authorization")
            # It asks the database and perhaps the issuer, so this must not run in the event loop.
            actor = await run_in_threadpool(self._callers.actor, header) if header else None
            if actor is None and not is_public(request.method, scope["path"]):
                raise Unauthenticated("Authentication needed.")
            request.state.actor = actor
        await self._app(scope, receive, send)


class ReadOnly:
    """Refuses every request that could change something, while the instance only shows what it has.

    Logging in changes nothing and still works; so do jobs, which don't come this way.
    """

    METHODS = frozenset({"POST", "PUT", "DELETE", "PATCH"})

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in self.METHODS and not _LOGIN.fullmatch(scope["path"]):
            raise Unavailable("This Loculus instance is in read-only mode; write requests are disabled.")
        await self._app(scope, receive, send)


class BodyLimit:
    """Refuses bodies that are too long, by their declared length or as soon as they are."""

    def __init__(self, app: ASGIApp, limit_for: Callable[[str], int]) -> None:
        self._app = app
        self._limit_for = limit_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit_for(scope["path"])
        refusal = f"The body of this request may have at most {limit} bytes."
        declared = Request(scope).headers.get("content-length", "0")
        if not declared.isdecimal() or len(declared) > MAX_DIGITS or int(declared) > limit:
            raise TooLarge(refusal)
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, refusal)
            return message

        await self._app(scope, receive_counted, send)
