"""Answers of S3 whose headers broke off are no answers.

http.client takes the end of a connection for the end of the headers: a version ID that was cut in its
middle would pass for another version's.
"""

from __future__ import annotations

import http.client
from typing import Any

from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection


class _Lines:
    """A stream of whole lines."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def readline(self, limit: int = -1) -> bytes:
        """The next line; raises RemoteDisconnected when the connection ended before its end."""
        line: bytes = self.stream.readline(limit)
        if not line.endswith(b"\n") and len(line) != limit:
            raise http.client.RemoteDisconnected("the connection ended in the middle of the headers")
        return line


class WholeAnswer(http.client.HTTPResponse):
    """An answer whose headers must come to their end."""

    def begin(self) -> None:
        """Read the headers."""
        lines = _Lines(self.fp)
        self.fp = lines  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            if self.fp is lines:  # type: ignore[comparison-overlap]
                self.fp = lines.stream


def insist_on_whole_answers() -> None:
    """Let every connection of botocore's in this process refuse answers that broke off."""
    connections: tuple[Any, ...] = (AWSHTTPConnection, AWSHTTPSConnection)
    for connection in connections:
        connection.response_class = WholeAnswer
