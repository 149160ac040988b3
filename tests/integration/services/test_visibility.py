"""What a maintainer's interventions make of a released version: the newest counts, and SQL says the same as Python."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlmodel import col

from readvault.db.tables import EntryVersion, Intervention
from readvault.domain.errors import Gone
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import Visibility
from readvault.services.entries.visibility import (
    interventions_on,
    is_listed,
    is_suppressed,
    is_withdrawn,
    refuse_withdrawn,
    state_of,
)
from readvault.services.house import House
from tests.integration.services import scenes

HISTORIES = {
    (): Visibility.PUBLIC,
    (Visibility.SUPPRESSED,): Visibility.SUPPRESSED,
    (Visibility.WITHDRAWN,): Visibility.WITHDRAWN,
    (Visibility.SUPPRESSED, Visibility.WITHDRAWN): Visibility.WITHDRAWN,
    (Visibility.WITHDRAWN, Visibility.PUBLIC): Visibility.PUBLIC,
    (Visibility.WITHDRAWN, Visibility.PUBLIC, Visibility.SUPPRESSED): Visibility.SUPPRESSED,
}


@pytest.fixture
def entries(house: House) -> dict[AccessionVersion, Visibility]:
    """An entry for each history of interventions, and what it ends as."""
    group = scenes.group(house, "alice")
    expected: dict[AccessionVersion, Visibility] = {}
    for history, end in HISTORIES.items():
        name, _ = scenes.entry(house, group)
        expected[name] = end
        with house.sessions.begin() as session:
            for number, state in enumerate(history):
                session.add(
                    Intervention(
                        accession=name.accession,
                        version=name.version,
                        state=state.value,
                        reason=f"reason {number}",
                        actor="maintainer",
                        at=float(number),
                    )
                )
                session.flush()
    return expected


def test_the_newest_intervention_counts(house: House, entries: dict[AccessionVersion, Visibility]) -> None:
    with house.sessions.read() as session:
        assert state_of(session, entries) == entries
        assert len(interventions_on(session, entries)) == len(entries) - 1


def test_sql_says_the_same(house: House, entries: dict[AccessionVersion, Visibility]) -> None:
    query = select(col(EntryVersion.accession), col(EntryVersion.version), is_withdrawn(), is_suppressed(), is_listed())
    with house.sessions.read() as session:
        found = {AccessionVersion(row[0], row[1]): tuple(map(bool, row[2:])) for row in session.execute(query)}
    states = (Visibility.WITHDRAWN, Visibility.SUPPRESSED, Visibility.PUBLIC)
    assert found == {name: tuple(end is state for state in states) for name, end in entries.items()}


def test_another_version_of_the_same_accession_is_untouched(house: House) -> None:
    group = scenes.group(house, "alice")
    name, _ = scenes.entry(house, group)
    scenes.entry(house, group, accession=name.accession, version=2)
    with house.sessions.begin() as session:
        session.add(
            Intervention(accession=name.accession, version=2, state="WITHDRAWN", reason="r", actor="maintainer", at=1.0)
        )
    second = AccessionVersion(name.accession, 2)
    with house.sessions.read() as session:
        assert state_of(session, [name, second]) == {name: Visibility.PUBLIC, second: Visibility.WITHDRAWN}


def test_only_what_is_withdrawn_is_gone_and_says_why(house: House, entries: dict[AccessionVersion, Visibility]) -> None:
    gone = {}
    with house.sessions.read() as session:
        for name in entries:
            try:
                refuse_withdrawn(session, name)
            except Gone as fault:
                gone[name] = str(fault)
    assert set(gone) == {name for name, end in entries.items() if end is Visibility.WITHDRAWN}
    assert {text.partition(": ")[2] for text in gone.values()} == {"reason 0", "reason 1"}
