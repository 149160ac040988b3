"""Somebody who owns the database alters the audit log: it is found, whatever he does to it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, event, insert, select
from sqlmodel import Session

from readvault.db import audit, immutability
from readvault.db.engine import Sessions, create_engine, migrate
from readvault.db.tables import AuditEntry
from readvault.db.upsert import columns_of
from readvault.domain.identifiers import AccessionVersion
from readvault.services import access_log, trail
from readvault.services.house import House
from readvault.services.storage.rebuilding.records import export, queue_head
from tests.fakes import MemoryStore, RecordingOrchestrator
from tests.faults.campaign import Campaign, Outcome
from tests.houses import build_house

ROWS = 40
LOG = columns_of(AuditEntry)
Row = dict[str, Any]


@dataclass
class Tamperer:
    """What somebody does to the rows, oldest first; `dice` chooses which."""

    dice: random.Random

    def column(self, rows: list[Row]) -> list[Row]:
        """Another value in one column of one row."""
        row, column = self.dice.choice(rows), self.dice.choice([column.name for column in LOG.columns])
        before = row[column]
        if column == "id":
            row["id"] = self.dice.choice((max(each["id"] for each in rows) + 7, -1))
        elif column == "at":
            row["at"] = before + self.dice.choice((-1.0, 1e-6, 1000.0))
        elif column == "details":
            row["details"] = {**before, "x": self.dice.random()}
        else:
            row[column] = self.dice.choice((before + "x", before[:-1], "mallory"))
        return rows

    def deletion(self, rows: list[Row]) -> list[Row]:
        """One row is gone."""
        rows.pop(self.dice.randrange(len(rows)))
        return rows

    def swap(self, rows: list[Row]) -> list[Row]:
        """Two rows change places."""
        one, other = self.dice.sample(rows, 2)
        one["id"], other["id"] = other["id"], one["id"]
        return sorted(rows, key=lambda row: int(row["id"]))

    def insertion(self, rows: list[Row]) -> list[Row]:
        """A row that fits its place, and those after it one further."""
        place = self.dice.randrange(len(rows))
        for row in rows[place:]:
            row["id"] += 1
        before = rows[place - 1]["sha256"] if place else audit.BEGINNING
        made = {**rows[place], "id": rows[place]["id"] - 1, "actor": "mallory", "previous_sha256": before}
        rows.insert(place, _sealed(made))
        return rows

    def chained_anew(self, rows: list[Row]) -> list[Row]:
        """One row altered or gone, and every digest from there on made to fit."""
        place = self.dice.randrange(len(rows))
        if self.dice.random() < 0.5:
            rows[place]["actor"] = "mallory"
        else:
            rows.pop(place)
        return _chained(rows)

    def cut_tail(self, rows: list[Row]) -> list[Row]:
        """The last rows are gone."""
        return rows[: len(rows) - self.dice.randint(1, len(rows) - 1)]

    def emptied(self, rows: list[Row]) -> list[Row]:
        """All rows are gone, perhaps with a new beginning as after a rebuild."""
        if self.dice.random() < 0.5:
            return []
        return _chained([{**rows[0], "action": "begin rebuild"}, {**rows[1], "action": "rebuild"}])


KINDS: tuple[Callable[[Tamperer, list[Row]], list[Row]], ...] = (
    Tamperer.column, Tamperer.deletion, Tamperer.swap, Tamperer.insertion, Tamperer.chained_anew, Tamperer.cut_tail,
    Tamperer.emptied,
)  # fmt: skip


def _sealed(row: Row) -> Row:
    return {**row, "sha256": audit._digest(AuditEntry(**row))}


def _chained(rows: list[Row]) -> list[Row]:
    previous, made = audit.BEGINNING, []
    for row in rows:
        made.append(_sealed({**row, "previous_sha256": previous}))
        previous = made[-1]["sha256"]
    return made


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """So many tamperings, each with a whole log."""
    house = _house(folder)
    _write(house, random.Random(seed))
    failures = [] if trail.verify(house).whole else ["the log is not whole before anything was done to it"]
    with house.sessions.begin() as session:
        immutability.lift(session.connection())
        rows = [dict(row) for row in session.execute(select(LOG).order_by(LOG.c.id)).mappings()]
    for number in range(trials):
        kind = KINDS[(seed + number) % len(KINDS)]
        failures += _tamper(house, kind, random.Random(f"{seed} {number}"), rows)
    house.sessions.close()
    return Outcome(trials, failures, f"SQLite, a log of {ROWS} rows with reads of files, its end in the bucket")


def _tamper(
    house: House, kind: Callable[[Tamperer, list[Row]], list[Row]], dice: random.Random, rows: list[Row]
) -> list[str]:
    altered = kind(Tamperer(dice), [{**row} for row in rows])
    assert altered != rows, kind.__name__
    _put(house, altered)
    verdict = trail.verify(house)
    _put(house, rows)
    return [f"{kind.__name__} was not found"] if verdict.whole else []


def _put(house: House, rows: list[Row]) -> None:
    """Make the log these rows; reads hang on some of them, and a tamperer switches such references off."""
    with house.sessions.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql("BEGIN")
        connection.execute(delete(LOG))
        if rows:
            connection.execute(insert(LOG), rows)
        connection.commit()


def _write(house: House, dice: random.Random) -> None:
    for number in range(ROWS):
        with house.sessions.begin() as session:
            _act(session, number, dice)
    queue_head(house)
    export(house)


def _act(session: Session, number: int, dice: random.Random) -> None:
    name = AccessionVersion("LOC_000001Y", 1)
    if dice.random() < 0.3:
        access_log.note(session, "alice", name, [(f"f{number}", "rawReads"), ("g", "rawReads")], "review")
    else:
        audit.append(session, dice.choice(("alice", "bob")), "approve", f"A.{number}", {"share": dice.random()})


def _house(folder: Path) -> House:
    url = f"sqlite:///{folder / 'readvault.sqlite'}"
    migrate(url)
    engine = create_engine(url)
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    return build_house(Sessions(engine), MemoryStore(), RecordingOrchestrator(), folder)


CAMPAIGN = Campaign(
    name="audit",
    promise="P14 Whatever maintainers did can be proved",
    how="somebody who owns the database alters any column of the audit log, deletes, swaps or inserts rows, makes all"
    " digests fit from a row on, cuts the tail off or empties it: `admin audit verify`, which compares with the ends of"
    " the log that lie in the bucket, finds it",
    full=1000,
    run=run,
    unit="tamperings",
    part=250,
    tiny=14,
)
