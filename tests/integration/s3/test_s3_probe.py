"""What S3 says to strangers, and what says nothing of that."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from readvault.adapters import s3_probe
from readvault.adapters.s3_probe import Silent, refuse_anonymous


class Busy(ThreadingHTTPServer):
    """Answers these statuses, one after the other, and then the last one for ever."""

    statuses: list[int]


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Busy)
        known = self.server.statuses
        self.send_response(known.pop(0) if len(known) > 1 else known[0])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Busy]:
    monkeypatch.setattr(s3_probe, "_PAUSES", (0.0, 0.0))
    with Busy(("127.0.0.1", 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_an_s3_that_is_busy_for_a_moment_is_asked_again(busy: Busy) -> None:
    busy.statuses = [500, 503, 403, 429, 403]
    refuse_anonymous(f"http://127.0.0.1:{busy.server_port}", "reads")
    assert busy.statuses == [403]


def test_an_s3_that_only_fails_is_silent_and_not_open(busy: Busy) -> None:
    busy.statuses = [503]
    with pytest.raises(Silent, match="503"):
        refuse_anonymous(f"http://127.0.0.1:{busy.server_port}", "reads")
