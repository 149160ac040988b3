"""A file while it is downloaded. Part of the client: httpx alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import IO

import httpx


class Draft:
    """A file that is being downloaded."""

    def __init__(self, file: IO[bytes], progress: Callable[[int], None]) -> None:
        self._file = file
        self._progress = progress
        self.size = 0
        self.digest = hashlib.sha256()

    def take(self, response: httpx.Response) -> None:
        """Write what comes; from the beginning when the server doesn't go on where we asked it to."""
        goes_on = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {self.size}-"
        )
        if self.size and not goes_on:
            if response.status_code == 206:
                raise httpx.RemoteProtocolError("another range than was asked for")
            self._progress(-self.size)
            self._file.seek(0)
            self._file.truncate()
            self.size, self.digest = 0, hashlib.sha256()
        for block in response.iter_raw():
            self._file.write(block)
            self.digest.update(block)
            self.size += len(block)
            self._progress(len(block))
