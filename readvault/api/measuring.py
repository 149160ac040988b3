"""Counts requests by the template of their route: never by what somebody put into a path."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from readvault.counters import HTTP_REQUESTS, HTTP_SECONDS, HTTP_UNDER_WAY

NO_ROUTE = "none"
"""Of requests that were refused before a route was looked for, or that no route is for."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Measured:
    """Counts every request and how long its whole answer took."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        HTTP_UNDER_WAY.inc()
        try:
            await self._app(scope, receive, send_noted)
        finally:
            HTTP_UNDER_WAY.dec()
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            HTTP_REQUESTS.labels(route, method, f"{status // 100}xx").inc()
            HTTP_SECONDS.labels(route, method).observe(time.monotonic() - began)
