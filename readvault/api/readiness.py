"""Whether this process can do its work right now, asked of what it needs, on threads of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy.exc import SQLAlchemyError

from readvault.db import immutability, schema
from readvault.domain.errors import ProcessingFailure
from readvault.domain.organism.loaded import LiveOrganisms
from readvault.services.house import House

KEPT_FOR = 10.0
"""Seconds that an answer is good for."""
PATIENCE = 3.0
"""Seconds that anybody waits for one; who hasn't answered by then is down."""
NO_KEY = "incoming/readiness"
"""Nothing lies there: to list it is the cheapest question."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one part said. `told` is for maintainers: no address, no secret."""

    up: bool
    told: str


class _Watched:
    """One part, asked by one thread at a time: a hanging one never takes more."""

    def __init__(self, name: str, ask: Callable[[], Part]) -> None:
        self._name, self._ask = name, ask
        self._lock = threading.Lock()
        self._answered = threading.Event()
        self._part = Part(up=False, told="it was never asked")
        self._asked_at: float | None = None
        self._asking = False

    def begin(self) -> None:
        """Ask, unless the last answer is good or somebody waits for one."""
        with self._lock:
            due = self._asked_at is None or time.monotonic() - self._asked_at >= KEPT_FOR
            if self._asking or not due:
                return
            self._asking, self._asked_at = True, time.monotonic()
            self._answered.clear()
        threading.Thread(target=self._run, name=f"readiness-{self._name}", daemon=True).start()

    def _run(self) -> None:
        try:
            part = self._ask()
        except Exception as fault:
            part = Part(up=False, told=type(fault).__name__)
        with self._lock:
            self._part, self._asking = part, False
            self._answered.set()

    def answer(self) -> Part:
        """The answer, or that there is none. Who has been asked for longer than anybody waits is waited for no more."""
        since = self._asked_at
        deadline = time.monotonic() if since is None else since + PATIENCE
        if not self._answered.wait(max(0.0, deadline - time.monotonic())):
            return Part(up=False, told="it doesn't answer")
        with self._lock:
            return self._part


class Readiness:
    """What the API needs: its database as it must be, and the bucket. Safe to share between threads."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._parts: Mapping[str, _Watched] = MappingProxyType(
            {
                "database": _Watched("database", self._database),
                "storage": _Watched("storage", self._storage),
                "organisms": _Watched("organisms", self._organisms),
            }
        )

    def now(self) -> Mapping[str, Part]:
        """What each part says, at most `KEPT_FOR` seconds old, after at most `PATIENCE` seconds."""
        for part in self._parts.values():
            part.begin()
        return {name: part.answer() for name, part in self._parts.items()}

    def _database(self) -> Part:
        try:
            with self._house.sessions.read() as session:
                connection = session.connection()
                has, missing = schema.of(connection), immutability.missing(connection)
        except SQLAlchemyError as fault:
            return Part(up=False, told=type(fault).__name__)
        if has != schema.newest():
            return Part(up=False, told=f"its schema is {has}, {schema.newest()} is needed")
        if missing:
            return Part(up=False, told=f"{len(missing)} triggers are missing")
        return Part(up=True, told=f"{self._house.sessions.dialect}, schema {has}, all triggers are there")

    def _storage(self) -> Part:
        try:
            next(iter(self._house.store.list_versions(NO_KEY)), None)
        except ProcessingFailure as failure:
            return Part(up=False, told=failure.cause)
        return Part(up=True, told="it answers")

    def _organisms(self) -> Part:
        """What counts serves; that changed files are refused keeps nobody from asking."""
        found = self._house.organisms
        refused = found.standing.refused if isinstance(found, LiveOrganisms) else ()
        told = f"{len(found)} count"
        return Part(up=True, told=f"{told}; changed files are refused: {'; '.join(refused)}" if refused else told)
