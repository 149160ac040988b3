"""A request that lost its database before anything was written is done once more; nobody need send it again."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from readvault.db import faults

log = logging.getLogger(__name__)

KEPT_BYTES = 10**6
"""A longer body is not kept: its request gets 503, and the client sends it again."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class OnceMore:
    """Repeats a request, once, whose connection to the database broke or that a deadlock ended.

    Only while no byte of an answer is out; and, unless its method is safe, only while none of its
    transactions has reached its commit. Everything else is the caller's to decide: 503.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        before, state = dict(scope), dict(scope["state"])
        body, answering = _Body(receive), False

        async def send_noted(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        with faults.watching() as watched:
            try:
                await self._app(scope, body.receive, send_noted)
            except Exception as fault:
                safe = scope["method"] in _SAFE or not watched.may_have_written
                if answering or not (safe and body.is_whole and faults.is_undone(fault)):
                    raise
                log.warning("request %s is done once more: %s", state.get("request_id"), type(fault).__name__)
            else:
                return
        scope.clear()
        scope.update(before, state=state)
        await self._app(scope, body.again, send)


class _Body:
    """What came in so far, to be read a second time."""

    def __init__(self, receive: Receive) -> None:
        self.is_whole = True
        self._receive = receive
        self._kept: list[Message] = []
        self._bytes = 0

    async def receive(self) -> Message:
        """The next part, for the first time."""
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        self.is_whole = self.is_whole and self._bytes <= KEPT_BYTES
        if self.is_whole:
            self._kept.append(message)
        else:
            self._kept.clear()
        return message

    async def again(self) -> Message:
        """The next part of what was read already, then of what was not."""
        return self._kept.pop(0) if self._kept else await self._receive()
