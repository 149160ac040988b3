"""`readvault admin reprocess`: a maintainer's way from the count to the roll-back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import col, select
from typer.testing import CliRunner

from readvault.cli import admin_reprocess
from readvault.db.tables import Job
from readvault.domain.actor import MAINTAINER_ROLE, Actor
from readvault.domain.errors import Conflict
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.reprocessing import feeding
from tests.integration.services.life import released
from tests.integration.services.scenes import ERROR, ORGANISM, claimed, group, of_next_pipeline, result

WHY = "a better aligner"
Run = Callable[..., Any]


@pytest.fixture
def later(house: House) -> House:
    return of_next_pipeline(house, automatic=False)


@pytest.fixture
def run(later: House, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command beside workers that have pipeline version 2."""
    monkeypatch.setattr(admin_reprocess, "open_office", lambda: later)
    actor = Actor("admin (ann)", frozenset({MAINTAINER_ROLE}))
    monkeypatch.setattr(admin_reprocess, "maintainer", lambda: actor)

    def invoke(*words: object, fails: bool = False) -> Any:
        answer = CliRunner().invoke(admin_reprocess.reprocess_app, [str(word) for word in words])
        assert (answer.exit_code != 0) == fails, answer.output
        return answer

    return invoke


def test_from_the_count_to_the_roll_back(run: Run, house: House, later: House) -> None:
    mine = group(house, "alice")
    good, bad = released(house, mine), released(house, mine)
    assert "entries: 2\n" in run("request", ORGANISM, "--tool", "minimap2").stdout
    run("request", ORGANISM, "--submitted-from", "yesterday", fails=True)
    asked = run("request", ORGANISM, "--no-dry-run", "--reason", WHY).stdout
    run(*asked.strip().splitlines()[-1].split()[3:])
    for step in ("pause", "resume"):
        run(step, 1)
    assert feeding.feed(later) == 2
    with house.sessions.read() as session:
        queued = session.exec(select(Job).where(col(Job.reprocessing_id) == 1)).all()
    for job in queued:
        claim = claimed(later, job.id)
        errors = (ERROR,) if job.accession == bad.accession else ()
        jobs.register(later, claim, result(house, claim, text=b">main\nTTTT\n", errors=errors))
    waits = run("waiting").stdout.split("\t")
    assert waits[1:4] == [str(bad), "released", "2"]
    assert "HAS_ERRORS" in waits[-1]
    assert isinstance(run("accept", waits[0], "--reason", WHY, fails=True).exception, Conflict)
    run("keep", waits[0], "--reason", WHY)
    assert "version 1 stands" in run("roll-back", good, "--reason", WHY).stdout
    assert "version 2 stands" in run("roll-back", good, "--reason", WHY, "--pipeline-version", 2).stdout
    assert "1 entries went back" in run("roll-back", 1, "--reason", WHY).stdout
    assert "rolled back" in run("list").stdout
    run("cancel", 1, fails=True)
