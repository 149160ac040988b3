"""What an order would do, and what it would cost, before anybody confirms it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlmodel import Session, col

from readvault.db import entry_state
from readvault.db.tables import EntryVersion
from readvault.domain.actor import Actor
from readvault.domain.errors import Unprocessable
from readvault.domain.organism import Organism
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.queue.sizes import submitted_bytes
from readvault.services.reprocessing import selection
from readvault.services.reprocessing.choices import Choice

CPU_OF_AN_ENTRY = 2.0
"""Seconds for starting the steps of an entry, whatever its size."""
CPU_OF_A_MEGABYTE = 0.7
"""Seconds for each megabyte of gzipped short reads, all steps and outputs; long reads take more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an order is about, and a rough idea of its cost. Sizes are those of the originals, in bytes."""

    organism: str
    pipeline_version: int
    entries: int
    released: int
    bytes: int
    without_originals: int
    """Chosen, but their originals were shredded: they keep their results."""
    busy: int
    """Chosen, but something processes them, or a job of theirs needs attention: the nightly look comes back."""

    @property
    def cpu_seconds(self) -> float:
        """Roughly how long one core works on it."""
        return round(self.entries * CPU_OF_AN_ENTRY + self.bytes / 1e6 * CPU_OF_A_MEGABYTE, 1)

    def counts(self) -> dict[str, int]:
        """All figures by name, for a table."""
        return {
            "pipeline version": self.pipeline_version,
            "entries": self.entries,
            "released entries": self.released,
            "bytes": self.bytes,
            "CPU minutes, about": round(self.cpu_seconds / 60),
            "without originals": self.without_originals,
            "busy": self.busy,
        }

    def told(self) -> str:
        """The plan in a line."""
        hours = f"{self.cpu_seconds / 3600:.1f}"
        return f"{self.entries} entries, {self.bytes} bytes, about {hours} CPU hours"


def plan(house: House, actor: Actor | None, organism: str, choice: Choice) -> Plan:
    """Count what an order would process, and touch nothing. For maintainers.

    Raises Forbidden, BadRequest for an unknown organism, and Unprocessable for one whose external
    pipeline stands instead of readvault's steps.
    """
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        return counted(session, processable(house, organism), choice)


def processable(house: House, organism: str) -> Organism:
    """The organism, if readvault's own steps process it; else Unprocessable."""
    found = house.organism(organism)
    if found.pipeline.external is not None and found.pipeline.external.mode == "instead":
        raise Unprocessable(
            f"Organism {organism} is processed by an external pipeline: start that one with a newer version."
        )
    return found


def counted(session: Session, organism: Organism, choice: Choice) -> Plan:
    """The counts of one look at all entries of the organism."""
    version = organism.pipeline.version
    can, rests = selection.has_its_originals(), selection.is_at_rest()
    query = entry_state.with_state(
        select(
            col(EntryVersion.released),
            can.label("can"),
            rests.label("rests"),
            submitted_bytes(col(EntryVersion.accession), col(EntryVersion.version)).label("size"),
        )
    ).where(selection.chosen(session, organism.name, version, choice))
    found = query.subquery()
    columns = (found.c.released, found.c.can, found.c.rests)
    rows = session.execute(select(*columns, func.count(), func.sum(found.c.size)).group_by(*columns)).all()
    ready = [row for row in rows if row[1] and row[2]]
    return Plan(
        organism=organism.name,
        pipeline_version=version,
        entries=sum(row[3] for row in ready),
        released=sum(row[3] for row in ready if row[0]),
        bytes=sum(int(row[4] or 0) for row in ready),
        without_originals=sum(row[3] for row in rows if not row[1]),
        busy=sum(row[3] for row in rows if row[1] and not row[2]),
    )
