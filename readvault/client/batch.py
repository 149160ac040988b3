"""Uploading many files over a bad line: what arrived is not sent again, a killed process goes on where it was.

>>> with Client("http://127.0.0.1:8079") as readvault:  # doctest: +SKIP
...     readvault.login("alice", "secret")
...     tickets = Batch(readvault, group_id, sorted(Path("reads").iterdir()), Path("upload.json")).run()
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from readvault.client.client import Client, ClientError, Progress, Ticket
from readvault.client.line import Lanes
from readvault.client.transfer import nothing, sha256_of

FILES_PER_REQUEST = 32
AT_ONCE = 4
LONGEST_PAUSE = 60.0
DAY = 24 * 3600.0
REFUSALS = 3
"""How often in a row fresh addresses may be refused before it is believed that the file isn't what was declared."""
_VERSION = 1


@dataclass
class _File:
    """One local file and what became of it."""

    path: str
    size: int
    modified: int
    """As the file system has it, in nanoseconds: another one means another file."""
    sha256: str | None = None
    file_id: str | None = None
    done: bool = False


@dataclass
class _State:
    """What has to survive the process. It holds no address and no token."""

    group_id: int
    category: str | None
    files: dict[str, _File] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """The files of a request whose answer isn't known yet."""
    asked_key: str = ""
    asked_rate: float = 0.0

    @classmethod
    def read(cls, place: Path, group_id: int, category: str | None) -> _State:
        if not place.exists():
            return cls(group_id, category)
        try:
            content = json.loads(place.read_text(encoding="utf-8"))
            if content.pop("format") != _VERSION:
                raise ValueError
            state = cls(**content)
            state.files = {path: _File(**file) for path, file in content["files"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ClientError(f"{place.name} is not the state of an upload.") from None
        if (state.group_id, state.category) != (group_id, category):
            raise ClientError(f"{place.name} is the state of an upload for another group or category.")
        return state

    def write(self, place: Path) -> None:
        draft = place.with_name(f".{place.name}.draft")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump({"format": _VERSION, **asdict(self)}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(place)


class Batch:
    """An upload of many files for one group; `run` it again until it ends, with the same `state` file.

    `patience` is how many seconds a file may make no progress before that is an error. Files from 16 MB
    on come in parts whose size follows the line: small where connections break.
    """

    def __init__(
        self,
        client: Client,
        group_id: int,
        paths: Sequence[Path],
        state: Path,
        *,
        category: str | None = None,
        at_once: int = AT_ONCE,
        patience: float = DAY,
        progress: Progress = nothing,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._place, self._progress = client, state, progress
        self._pause, self._clock, self._patience = pause, clock, patience
        self._paths = {str(path.resolve()): path for path in paths}
        self._state = _State.read(state, group_id, category)
        self._lock = threading.RLock()
        self._lanes = Lanes(at_once, client.line)
        self._at_once = at_once
        self._parts_at_once = max(1, at_once // max(1, len(self._paths)))
        self._fresh: dict[str, Ticket] = {}
        self._failed = False

    def run(self) -> list[Ticket]:
        """Upload what is missing; the tickets of all files, in order, to submit them.

        Raises ClientError when the server refuses something or `patience` is over; all that arrived
        is kept for the next run.
        """
        self._failed = False
        self._look_at_files()
        missing = [path for path in self._paths if not self._state.files[path].done]
        with ThreadPoolExecutor(self._at_once) as pool:
            uploads = [pool.submit(self._upload, path) for path in missing]
            try:
                for upload in uploads:
                    upload.result()
            finally:
                self._failed = True  # a person who interrupts waits for no retry
        files = [(path, self._state.files[key]) for key, path in self._paths.items()]
        return [Ticket(path, file.file_id or "", path.name, file.size, already_yours=True) for path, file in files]

    def _look_at_files(self) -> None:
        """A file that changed since the last run is a new one."""
        for key, path in self._paths.items():
            seen = path.stat()
            known = self._state.files.get(key)
            if known is None or (known.size, known.modified) != (seen.st_size, seen.st_mtime_ns):
                self._state.files[key] = _File(key, seen.st_size, seen.st_mtime_ns)
                if key in self._state.asked:
                    self._state.asked = []
            elif known.done:
                self._progress(known.size)
        if not set(self._state.asked) <= set(self._paths):
            self._state.asked = []
        self._state.write(self._place)

    def _upload(self, key: str) -> None:
        """Upload one file, however often the line breaks."""
        file, best, since, failures, refused = self._state.files[key], 0, self._clock(), 0, 0
        while not self._failed:
            self._lanes.take()
            counted = _Counted(self._progress)
            arrived = False
            try:
                self._client.upload(self._ticket(key), counted, parts_at_once=self._parts_at_once)
                arrived = True
            except ClientError as fault:
                counted.back()
                if counted.most > best:
                    best, since, failures, refused = counted.most, self._clock(), 0, 0
                refused += fault.status in (403, 409, 412)
                if refused > REFUSALS or self._clock() - since > self._patience or not self._goes_on(file, fault):
                    self._failed = True
                    raise
            except BaseException:
                self._failed = True
                raise
            finally:
                self._lanes.leave(arrived=arrived)
            if arrived:
                self._note(file)
                return
            self._pause(min(LONGEST_PAUSE, 2.0**failures))
            failures = min(failures + 1, 10)

    def _ticket(self, key: str) -> Ticket:
        """Where the file goes, with fresh addresses."""
        file, path = self._state.files[key], self._paths[key]
        with self._lock:
            if file.file_id is None:
                self._request(key)
            if (ticket := self._fresh.pop(key, None)) is not None:
                return ticket
        assert file.file_id is not None
        return self._client.resume(file.file_id, path)

    def _request(self, key: str) -> None:
        """Ask for this file and some of the next ones; the answer may get lost, but not what was asked."""
        state = self._state
        if key not in state.asked:
            new = [each for each in self._paths if state.files[each].file_id is None and not state.files[each].done]
            start = new.index(key)
            state.asked = new[start : start + FILES_PER_REQUEST]
            state.asked_key, state.asked_rate = str(uuid.uuid4()), self._client.line.stated_rate()
        for each in state.asked:
            if state.files[each].sha256 is None:
                state.files[each].sha256 = sha256_of(self._paths[each])
        state.write(self._place)
        paths = [self._paths[each] for each in state.asked]
        tickets = self._client.request_uploads(
            state.group_id,
            paths,
            category=state.category,
            multipart=True,
            bytes_per_second=state.asked_rate,
            hashes={self._paths[each]: state.files[each].sha256 or "" for each in state.asked},
            key=state.asked_key,
        )
        for each, ticket in zip(state.asked, tickets, strict=True):
            state.files[each].file_id = ticket.file_id
            self._fresh[each] = ticket
        state.asked = []
        state.write(self._place)

    def _goes_on(self, file: _File, fault: ClientError) -> bool:
        """Whether the file can still arrive: nobody answered, its address is old, or its upload has to begin anew."""
        if fault.status == 409:
            self._forget(file)
        return fault.status is None or fault.status in (403, 408, 409, 412) or fault.status >= 500

    def _forget(self, file: _File) -> None:
        """The upload has expired or was given up: request another one."""
        with self._lock:
            if file.file_id is None:
                self._state.asked = []
            file.file_id = None
            self._fresh.pop(file.path, None)
            self._state.write(self._place)

    def _note(self, file: _File) -> None:
        with self._lock:
            file.done = True
            self._state.write(self._place)


class _Counted:
    """Progress of one attempt, which can be taken back."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._lock = progress, threading.Lock()
        self._net = 0
        self.most = 0
        """What had arrived for certain at the end of the attempt, in bytes."""

    def __call__(self, sent: int) -> None:
        with self._lock:
            self._net += sent
        self._progress(sent)

    def back(self) -> None:
        """Take the attempt back: the next one counts from the beginning."""
        self.most = self._net
        self._progress(-self._net)
