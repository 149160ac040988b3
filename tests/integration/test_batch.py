"""A batch of files over a line that breaks: little is sent twice, and nobody has to look after a file.

The line is made of a clock of its own: each block that is sent takes its time on it, every so many
seconds all connections break, and for an hour nobody answers. Bytes are a hundredth of real ones.
benchmarks/upload_batch.py does the same over a real network, at real sizes.
"""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api.app import create_app
from readvault.client import Client, ClientError, line, transfer
from readvault.client.batch import Batch
from readvault.config import UrlSettings
from readvault.ports import SignedRequest
from readvault.services.house import House
from readvault.services.people.accounts import create_account
from readvault.services.uploads import multipart
from tests.fakes import Refused
from tests.houses import ALICE, group_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Starlette wants another HTTP library for its test client
    from fastapi.testclient import TestClient

FILES = int(os.environ.get("READVAULT_BATCH_FILES", "24"))
"""192 for the full proof."""
SCALE = 100
SIZE = 50 * 10**6 // SCALE
RATE = 10 * 10**6 / SCALE
"""Bytes a second, of all connections together."""
HOUR = 3600.0


class Killed(BaseException):
    """The process is killed here."""


class BadLine(httpx.BaseTransport):
    """The way to the API and to the store, with a clock that sending and waiting move."""

    def __init__(self, api: httpx.BaseTransport, house: House) -> None:
        self._api, self._house = api, house
        self._lock = threading.Lock()
        self.now = 0.0
        self.rate = RATE
        self.cut_every = float("inf")
        self.dark = (float("inf"), float("inf"))
        self.kill_after = float("inf")
        self.sent = 0
        self.cuts = 0

    def clock(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self._pass(seconds)

    def _pass(self, seconds: float) -> float:
        with self._lock:
            self.now += seconds
            return self.now

    def _is_dark(self) -> bool:
        return self.dark[0] <= self.now < self.dark[1]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._is_dark():
            self._pass(1)
            raise httpx.ConnectError("nobody answers")
        if request.url.host == "testserver":
            return self._api.handle_request(request)
        opened, body = int(self.now / self.cut_every), b""
        assert isinstance(request.stream, httpx.SyncByteStream)
        for block in request.stream:
            body += block
            with self._lock:
                self.sent += len(block)
                self.now += len(block) / self.rate
            if self.sent > self.kill_after:
                raise Killed
            if int(self.now / self.cut_every) != opened or self._is_dark():
                self.cuts += 1
                raise httpx.WriteError("cut")
        url = str(request.url).replace("memory:/incoming", "memory://incoming")
        try:
            etag = self._house.store.put(SignedRequest(url, {}), body)  # type: ignore[attr-defined]
        except Refused as refusal:
            return httpx.Response(refusal.status)
        return httpx.Response(200, headers={"ETag": etag})


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedIssuer:
    return EmbeddedIssuer(tmp_path_factory.mktemp("issuer") / "key.pem", url="http://testserver", token_minutes=10)


@pytest.fixture
def house(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """A house, a client and a store whose sizes are a hundredth of the real ones."""
    for module, name in ((multipart, "SMALLEST_PART"), (multipart, "LARGEST_PART"), (line, "UNKNOWN_RATE"),
                         (line, "SMALLEST_MEASURED"), (transfer, "BLOCK")):  # fmt: skip
        monkeypatch.setattr(module, name, getattr(module, name) // SCALE)
    monkeypatch.setattr("readvault.services.people.accounts._COST", 2)
    usual = UrlSettings()
    house.settings.urls.part_size = usual.part_size // SCALE
    house.settings.urls.multipart_allowed_from = usual.multipart_allowed_from // SCALE
    create_account(house, ALICE.name, "secret")
    return house


@pytest.fixture
def bad_line(house: House, issuer: EmbeddedIssuer) -> BadLine:
    server = TestClient(create_app(house, Identity(issuer)), raise_server_exceptions=False)
    return BadLine(server._transport, house)


@pytest.fixture
def connect(bad_line: BadLine) -> Iterator[Callable[[], Client]]:
    """A new client of Alice's, as a new process has it."""
    opened: list[Client] = []

    def new() -> Client:
        client = Client("http://testserver", transport=bad_line, pause=bad_line.pause, clock=bad_line.clock)
        client.login(ALICE.name, "secret")
        opened.append(client)
        return client

    yield new
    for client in opened:
        client.close()


@pytest.fixture
def group_id(house: House) -> int:
    return group_of(house, ALICE)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "upload.json"


def files(folder: Path, count: int, size: int = SIZE) -> list[Path]:
    paths = [folder / f"reads_{number}.fastq.gz" for number in range(count)]
    for path in paths:
        path.write_bytes(os.urandom(size))
    return paths


def started(client: Client, bad_line: BadLine, group_id: int, paths: list[Path], place: Path, **how: Any) -> Batch:
    return Batch(client, group_id, paths, place, category="rawReads", pause=bad_line.pause, clock=bad_line.clock, **how)


def assert_all_there(house: House, paths: list[Path], tickets: list[Any]) -> None:
    stored = {key.rpartition("/")[2]: versions for key, versions in house.store.versions.items()}  # type: ignore[attr-defined]
    for path, ticket in zip(paths, tickets, strict=True):
        ((_, body),) = stored[ticket.file_id]
        assert body == path.read_bytes()


def test_cut_every_20_seconds_and_one_dark_hour(
    house: House, bad_line: BadLine, connect: Callable[[], Client], group_id: int, tmp_path: Path, place: Path
) -> None:
    paths = files(tmp_path, FILES)
    total = FILES * SIZE
    bad_line.cut_every, half = 20.0, total / RATE / 2
    bad_line.dark = (half, half + HOUR)
    shown: list[int] = []
    tickets = started(connect(), bad_line, group_id, paths, place, progress=shown.append).run()
    assert_all_there(house, paths, tickets)
    assert bad_line.cuts >= 4
    assert bad_line.now > HOUR
    print(f"{FILES} files: {bad_line.sent / total:.3f} x the bytes, {bad_line.cuts} cuts, {bad_line.now:.0f} s")
    assert bad_line.sent <= 1.2 * total
    assert sum(shown) == total


@pytest.mark.parametrize("at", [0.1, 0.45, 0.93])
def test_a_killed_process_goes_on_from_its_state_file(
    house: House,
    bad_line: BadLine,
    connect: Callable[[], Client],
    group_id: int,
    tmp_path: Path,
    place: Path,
    at: float,
) -> None:
    paths = files(tmp_path, 8)
    total = 8 * SIZE
    bad_line.kill_after = at * total
    with pytest.raises(Killed):
        started(connect(), bad_line, group_id, paths, place).run()
    bad_line.kill_after = float("inf")
    tickets = started(connect(), bad_line, group_id, paths, place).run()
    assert_all_there(house, paths, tickets)
    assert bad_line.sent <= 1.2 * total
    before = bad_line.sent
    again = started(connect(), bad_line, group_id, paths, place).run()
    assert [each.file_id for each in again] == [each.file_id for each in tickets]
    assert bad_line.sent == before


def test_a_slow_line_gets_fewer_connections(
    house: House, bad_line: BadLine, connect: Callable[[], Client], group_id: int, tmp_path: Path, place: Path
) -> None:
    """Four smallest parts at once would each take longer than a connection lasts."""
    paths = files(tmp_path, 3)
    bad_line.cut_every, bad_line.rate = 20.0, 0.7 * 10**6 / SCALE
    tickets = started(connect(), bad_line, group_id, paths, place).run()
    assert_all_there(house, paths, tickets)


def test_the_state_file_holds_no_address_and_is_the_users_alone(
    bad_line: BadLine, connect: Callable[[], Client], group_id: int, tmp_path: Path, place: Path
) -> None:
    paths = files(tmp_path, 2, 1000)
    started(connect(), bad_line, group_id, paths, place).run()
    text = place.read_text()
    assert "memory:" not in text
    assert "signature" not in text
    assert "eyJ" not in text
    assert place.stat().st_mode & 0o077 == 0
    assert all(file["done"] for file in json.loads(text)["files"].values())


def test_an_answer_that_got_lost_reserves_nothing_twice(
    house: House, bad_line: BadLine, connect: Callable[[], Client], group_id: int, tmp_path: Path, place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    paths, client = files(tmp_path, 3, 1000), connect()
    lost: list[Any] = []
    ask = client.request_uploads

    def losing(*arguments: Any, **named: Any) -> Any:
        answer = ask(*arguments, **named)
        if not lost:
            lost.append(answer)
            raise ClientError("readvault can't be reached (ReadTimeout).")
        return answer

    monkeypatch.setattr(client, "request_uploads", losing)
    tickets = started(client, bad_line, group_id, paths, place).run()
    assert [each.file_id for each in tickets] == [each.file_id for each in lost[0]]
    assert client._json("GET", f"/groups/{group_id}/limits")["group"]["openFiles"]["used"] == 3


def test_a_changed_file_and_an_expired_upload_begin_anew(
    house: House, bad_line: BadLine, connect: Callable[[], Client], group_id: int, tmp_path: Path, place: Path
) -> None:
    paths, client = files(tmp_path, 2), connect()
    bad_line.kill_after = SIZE / 2
    with pytest.raises(Killed):
        started(client, bad_line, group_id, paths, place).run()
    bad_line.kill_after = float("inf")
    ids = [each["file_id"] for each in json.loads(place.read_text())["files"].values()]
    paths[0].write_bytes(os.urandom(SIZE))
    client._send("DELETE", f"/files/{ids[1]}")
    tickets = started(connect(), bad_line, group_id, paths, place).run()
    assert_all_there(house, paths, tickets)
    assert not {each.file_id for each in tickets} & set(ids)


def test_what_can_not_succeed_ends_at_once(
    house: House, bad_line: BadLine, connect: Callable[[], Client], group_id: int, tmp_path: Path, place: Path
) -> None:
    paths = files(tmp_path, 1)
    house.settings.limits.bytes_per_group = 10
    with pytest.raises(ClientError, match="The group may store 10 bytes") as refused:
        started(connect(), bad_line, group_id, paths, place).run()
    assert refused.value.status == 413
    assert bad_line.now < 60
    for wrong in ({"group_id": group_id + 1}, {}):
        if not wrong:
            place.write_text("{}")
        with pytest.raises(ClientError, match="state of an upload"):
            started(connect(), bad_line, wrong.get("group_id", group_id), paths, place)


def test_patience_ends(
    bad_line: BadLine, connect: Callable[[], Client], group_id: int, tmp_path: Path, place: Path
) -> None:
    client = connect()
    bad_line.dark = (bad_line.now, float("inf"))
    with pytest.raises(ClientError, match="can't be reached"):
        started(client, bad_line, group_id, files(tmp_path, 1), place, patience=HOUR).run()
    assert bad_line.now < 2 * HOUR
