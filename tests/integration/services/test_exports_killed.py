"""An export whose process is killed anywhere: what it made serves the next one, and nothing half-made is anybody's."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from readvault.db.engine import Sessions, create_engine
from readvault.db.tables import SiloExport, SiloPart
from readvault.domain.errors import Conflict, NotFound
from readvault.failpoints import VARIABLE
from readvault.services.exports import reading, retention
from readvault.services.house import House
from tests.faults.ground import DiskStore
from tests.integration.services.scenes import ORGANISM, group
from tests.integration.services.silo_scenes import export, released_reads, samples_of

SAMPLES = 2


@pytest.fixture
def kept_house(house: House, tmp_path: Path) -> House:
    """The house with a bucket that outlives a process."""
    return replace(house, store=DiskStore(tmp_path / "bucket"))


def _killed(house: House, database_url: str, folder: Path, point: str, passing: int, **options: Any) -> None:
    """Export in a process of its own, which is killed at this point."""
    armed = folder / "points"
    armed.mkdir(exist_ok=True)
    (armed / point).write_text(str(passing))
    child = os.fork()
    if child == 0:
        try:
            os.environ[VARIABLE] = str(armed)
            export(replace(house, sessions=Sessions(create_engine(database_url))), **options)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize(
    ("point", "passing", "there"),
    [
        ("export-part-stored", 2, 1),
        ("export-before-commit", 1, SAMPLES),
    ],
)
def test_the_next_export_goes_on_with_the_parts_that_are_there(
    kept_house: House, database_url: str, tmp_path: Path, point: str, passing: int, there: int
) -> None:
    house = kept_house
    group_id = group(house, "alice")
    names = [released_reads(house, group_id) for _ in range(SAMPLES)]
    _killed(house, database_url, tmp_path, point, passing)
    with pytest.raises(NotFound):
        reading.find(house, None, ORGANISM)
    with house.sessions.read() as session:
        assert len(session.exec(select(SiloPart)).all()) == there
    with pytest.raises(Conflict):
        export(house)  # for all that anybody knows, its builder may live
    with house.sessions.begin() as session:
        session.exec(select(SiloExport)).one().alive_until = 1.0
    assert export(house).figures["spliced"] == SAMPLES - there
    assert samples_of(house) == sorted(map(str, names))
    with house.sessions.begin() as session:
        dead = session.exec(select(SiloExport).where(SiloExport.state == "dropped")).one()
        assert dead.why == "broken off"
        dead.dropped_at = 1.0
    retention.tidy(house)
    assert not [key for key in house.store.versions if dead.id in key]  # type: ignore[attr-defined]


def test_what_was_committed_stays_when_its_process_is_killed_at_once(
    kept_house: House, database_url: str, tmp_path: Path
) -> None:
    house = kept_house
    name = released_reads(house, group(house, "alice"))
    _killed(house, database_url, tmp_path, "export-committed", 1)
    assert samples_of(house) == [str(name)]
    assert export(house).changed is False
