"""What a client has seen of its line to the storage: how fast it is, and whether it breaks. Needs nothing."""

from __future__ import annotations

import threading

SMALLEST_MEASURED = 64 * 1024
"""Smaller pieces say more about the answer's way than about the rate, in bytes."""
SLOW_PIECE = 5.0
"""From how many seconds on a piece that broke should have been smaller, or alone on the line."""
UNKNOWN_RATE = 350_000.0
"""Stated before anything is known, in bytes a second: parts are as small as S3 allows."""
SMOOTH_FILES = 20
"""After how many files without such a cut one more connection is tried."""
PIECES_BETWEEN_CUTS = 5
"""On a line that breaks, parts get this much smaller, so that little has to be sent again."""


class Line:
    """What has been seen of the line to the storage. Shared by all threads that send."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.rate: float | None = None
        """Bytes a second that one connection sends, mostly by the last pieces; None before the first."""
        self.cuts = 0
        """How often a connection broke while it was sending."""
        self.slow_cuts = 0
        """How often it broke after more than `SLOW_PIECE` seconds of sending one piece."""

    def arrived(self, length: int, seconds: float) -> None:
        """A piece arrived."""
        if length < SMALLEST_MEASURED:
            return
        seen = length / max(seconds, 1e-6)
        with self._lock:
            self.rate = seen if self.rate is None else 0.7 * self.rate + 0.3 * seen

    def broke(self, seconds: float) -> None:
        """A connection broke while it was sending a piece."""
        with self._lock:
            self.cuts += 1
            self.slow_cuts += seconds > SLOW_PIECE

    def stated_rate(self) -> float:
        """What to tell the server, which makes parts of about 15 seconds at this rate (bytes a second)."""
        with self._lock:
            if self.rate is None:
                return UNKNOWN_RATE
            return max(1.0, self.rate / PIECES_BETWEEN_CUTS if self.cuts else self.rate)


class Lanes:
    """How many connections send at once: fewer on a line that breaks before a piece is through."""

    def __init__(self, most: int, line: Line) -> None:
        self._condition = threading.Condition()
        self._line = line
        self._most = self.allowed = most
        self._taken = 0
        self._slow_cuts = line.slow_cuts
        self._smooth = 0

    def take(self) -> None:
        """Wait until one is free."""
        with self._condition:
            self._condition.wait_for(lambda: self._taken < self.allowed)
            self._taken += 1

    def leave(self, *, arrived: bool) -> None:
        """Give it back; `arrived` tells whether the file went through."""
        with self._condition:
            self._taken -= 1
            if self._line.slow_cuts > self._slow_cuts:
                self._slow_cuts, self._smooth = self._line.slow_cuts, 0
                self.allowed = max(1, self.allowed // 2)
            elif arrived:
                self._smooth += 1
                if self._smooth >= SMOOTH_FILES and self.allowed < self._most:
                    self.allowed, self._smooth = self.allowed + 1, 0
            self._condition.notify_all()
