"""A submitter's store changes its objects while they are pulled, lies about them, breaks off; the puller dies, too."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from unittest import mock

from sqlmodel import select

from readvault.db.engine import Sessions, create_engine, migrate
from readvault.db.tables import Pull, PullSource, UploadedFile
from readvault.domain.errors import ProcessingFailure, StoreUnavailable
from readvault.domain.pulls import PullState, SourceState
from readvault.services.pulls import ranges
from readvault.services.uploads import multipart
from tests.fakes import MemoryStore, RecordingOrchestrator
from tests.faults.campaign import Campaign, Outcome
from tests.foreign import Authority
from tests.houses import ALICE, build_house, group_of
from tests.integration.services.pull_scenes import PART, Lab, lab

PATH = "/b/reads.fastq"
ATTEMPTS = 4


@dataclass(frozen=True)
class Trick:
    """What the server does from the n-th range on. `whole`: the pull must succeed all the same."""

    name: str
    do: Callable[[Any, bytes, str, random.Random], None]
    whole: bool = False
    once: bool = False
    needs_hash: bool = False
    """Whether only the declared SHA-256 can tell."""


def _cut(handler: Any, body: bytes, etag: str, rng: random.Random) -> None:
    """Promise a range and break off in the middle of it."""
    first, last = (int(each) for each in handler.headers["Range"].removeprefix("bytes=").split("-"))
    handler.send_response(206)
    handler.send_header("ETag", etag)
    handler.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
    handler.send_header("Content-Length", str(last - first + 1))
    handler.end_headers()
    handler.wfile.write(body[first : first + rng.randrange(last - first + 1)])
    handler.close_connection = True


TRICKS = (
    Trick("other bytes", lambda h, body, _etag, _rng: h.ranged(_other(body), '"other"')),
    Trick("other bytes, pin ignored", lambda h, body, _etag, _rng: h.ranged(_other(body), '"other"', ignore_pin=True)),
    Trick(
        "other bytes under the same pin",
        lambda h, body, etag, _rng: h.ranged(_other(body), etag, ignore_pin=True),
        needs_hash=True,
    ),
    Trick("shorter", lambda h, body, etag, rng: h.ranged(body[: rng.randrange(1, len(body))], etag, ignore_pin=True)),
    Trick("longer", lambda h, body, etag, _rng: h.ranged(body + b"more", etag, ignore_pin=True)),
    Trick("gone", lambda h, _body, _etag, _rng: h.say(404, b"")),
    Trick("forbidden", lambda h, _body, _etag, _rng: h.say(403, b"")),
    Trick("redirect", lambda h, _body, _etag, _rng: h.say(307, b"", {"Location": "https://127.0.0.1/"})),
    Trick("everything instead of a range", lambda h, body, etag, _rng: h.say(200, body, {"ETag": etag})),
    Trick("broken off once", _cut, whole=True, once=True),
    Trick("busy once", lambda h, _body, _etag, _rng: h.say(503, b""), whole=True, once=True),
    Trick("as it should be", lambda h, body, etag, _rng: h.ranged(body, etag), whole=True),
)


def _other(body: bytes) -> bytes:
    return body[::-1]


def play(there: Lab, trick: Trick, path: str, rng: random.Random) -> None:
    """Let the server do a trick with the object at `path`, from some range of it on."""
    etag, asked = there.shop.etag(path), 0
    begins = rng.randrange(max(1, len(there.shop.objects[path]) // PART))

    def odd(handler: BaseHTTPRequestHandler, found: bytes | None) -> bool:
        nonlocal asked
        if found is None or handler.headers.get("Range", "bytes=0-0") == "bytes=0-0":
            return False
        asked += 1
        if asked <= begins or (trick.once and asked > begins + 1):
            return False
        trick.do(handler, found, etag, rng)
        return True

    there.shop.odd = odd


def trial(there: Lab, trick: Trick, rng: random.Random, *, dies: bool) -> str | None:
    """One pull under one trick, perhaps broken off on the way; what went wrong, or None."""
    body = rng.randbytes(rng.choice((rng.randrange(2, PART), rng.randrange(PART + 1, 5 * PART))))
    there.shop.objects[PATH], there.shop.ranges = body, 0
    play(there, trick, PATH, rng)
    sha256 = hashlib.sha256(body).hexdigest()
    declared = {"sha256": sha256} if trick.needs_hash or rng.random() < 0.5 else {}
    pull = there.asked(PATH, **declared).pull
    _worked_off(there, rng.randrange(1, 6) if dies else None)
    with there.house.sessions.read() as session:
        ended = session.get_one(Pull, pull.id)
        source = session.get_one(PullSource, (pull.id, 1))
        file = None if source.file_id is None else session.get(UploadedFile, source.file_id)
    return _judged(there, trick, ended, source, file, sha256)


def _worked_off(there: Lab, dies_at: int | None) -> None:
    """Work until the pull is over; with `dies_at` the worker ends once, at its n-th step with our S3."""
    store = there.house.store
    assert isinstance(store, MemoryStore)
    step, real = 0, store._call

    def call(name: str) -> None:
        nonlocal step
        step += 1
        if step == dies_at:
            raise StoreUnavailable(name, "the worker dies here")
        real(name)

    with mock.patch.object(store, "_call", call):
        for _ in range(ATTEMPTS):
            try:
                there.work()
                return
            except (ProcessingFailure, StoreUnavailable):
                there.due()


def _judged(
    there: Lab, trick: Trick, pull: Pull, source: PullSource, file: UploadedFile | None, sha256: str
) -> str | None:
    store = there.house.store
    assert isinstance(store, MemoryStore)
    kept = [data for versions in store.versions.values() for _, data in versions]
    store.versions.clear()
    store.uploads.clear()
    if pull.state != PullState.DONE or pull.secret is not None or source.secret is not None:
        return f"{trick.name}: the pull is {pull.state}, or a credential is left"
    if trick.whole and source.state != SourceState.DONE:
        return f"{trick.name}: it failed ({source.refusal})"
    if source.state == SourceState.DONE:
        if source.sha256 != sha256 or [hashlib.sha256(data).hexdigest() for data in kept] != [sha256]:
            return f"{trick.name}: other bytes are taken for what was pinned"
        if file is None or file.declared_sha256 != sha256:
            return f"{trick.name}: the upload doesn't know its SHA-256"
        return None
    return f"{trick.name}: {len(kept)} objects are left of a source that failed" if kept else None


@contextmanager
def pulling_scene(folder: Path, **settings: Any) -> Iterator[Lab]:
    """A house that pulls from a server of somebody else's, without pauses and with small parts."""
    url = f"sqlite:///{folder / 'readvault.sqlite'}"
    migrate(url)
    sessions = Sessions(create_engine(url))
    house = build_house(sessions, MemoryStore(), RecordingOrchestrator(), folder, worker={"retry_after": ()})
    with (
        mock.patch.object(ranges, "PAUSES", (0.0, 0.0)),
        mock.patch.object(multipart, "SMALLEST_PART", PART),
        lab(house, Authority(folder), group_of(house, ALICE), connections=2, **settings) as made,
    ):
        yield made
    sessions.close()


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """Each trick in turn; every other time round the puller dies on the way."""
    rng = random.Random(seed)
    failures = []
    with pulling_scene(folder) as there:
        for number in range(trials):
            trick = TRICKS[number % len(TRICKS)]
            fault = trial(there, trick, rng, dies=(number // len(TRICKS)) % 2 == 1)
            if fault is not None:
                failures.append(fault)
        with there.house.sessions.read() as session:
            pulls = len(session.exec(select(Pull.id)).all())
    if pulls != trials:
        failures.append(f"{pulls} pulls instead of {trials}")
    conditions = "SQLite, store in memory, a server with TLS, parts of 64 KiB, up to five of them"
    return Outcome(trials, failures, conditions)


CAMPAIGN = Campaign(
    name="pull_changes",
    promise="P5 What was validated is what is released",
    how=(
        "a submitter's store exchanges, shortens, lengthens, removes, forbids or redirects an object while it is"
        " pulled, sends other bytes under the same ETag, breaks off or is busy, and every other time round the puller"
        " dies on the way: what is taken is what was pinned, byte by byte, or the source fails and leaves no object"
    ),
    full=100,
    run=run,
    unit="pulls",
    part=50,
    tiny=len(TRICKS),
)
