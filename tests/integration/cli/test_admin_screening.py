"""`readvault admin`: withheld reads and opened originals, as maintainers type it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from readvault.cli import admin_originals, admin_screening
from readvault.cli.admin import admin_app
from readvault.domain.actor import MAINTAINER_ROLE, Actor
from readvault.domain.errors import Conflict, Forbidden, Gone
from readvault.services.house import House
from readvault.services.release.downloads import file_url
from readvault.services.screening import feeding
from tests.integration.services.scenes import ORGANISM, READY, group
from tests.integration.services.test_opening_originals import released, wanting

WHY = "a reason that says something"
Run = Callable[..., Any]


@pytest.fixture
def run(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command as an account of the machine, in a house that lets originals be public."""
    wants = replace(house, organisms={ORGANISM: wanting(tmp_path)})
    monkeypatch.setattr(admin_screening, "open_office", lambda: wants)
    for module in (admin_originals, admin_screening):
        monkeypatch.setattr(module, "office_with_organisms", lambda: wants)

    def invoke(account: str, *words: object, fails: bool = False) -> Any:
        actor = Actor(f"admin ({account})", frozenset({MAINTAINER_ROLE}))
        for module in (admin_originals, admin_screening):
            monkeypatch.setattr(module, "maintainer", lambda: actor)
        result = CliRunner().invoke(admin_app, [str(word) for word in words])
        assert (result.exit_code != 0) == fails, result.output
        return result

    invoke.house = wants  # type: ignore[attr-defined]
    return invoke


def test_reads_are_withheld_and_given_again(run: Any) -> None:
    name = released(run.house)
    place = (name.accession, 1, "dehumanizedReads", "dehumanized.fastq.gz")
    run("ann", "withhold-reads", name, "--pipeline-version", 1, "--reason", WHY)
    with pytest.raises(Gone, match=WHY):
        file_url(run.house, None, *place)
    listed = run("ann", "withheld-reads")
    assert listed.stdout.startswith(f"{name}\t1\tstands\t0 of 0\t")
    assert listed.stdout.rstrip().endswith(f"admin (ann)\t{WHY}")
    assert run("ann", "withheld-reads", "--undecided").stdout == ""
    run("bea", "give-reads-again", name, "--pipeline-version", 1, "--reason", WHY)
    assert file_url(run.house, None, *place)
    again = run("bea", "give-reads-again", name, "--pipeline-version", 1, "--reason", WHY, fails=True)
    assert isinstance(again.exception, Conflict)


def test_how_far_released_reads_are_screened(run: Any) -> None:
    released(run.house)
    feeding.feed(run.house, READY)
    organism, index, now, *counts = run("ann", "screenings").stdout.split("\t")
    assert (organism, index, now, counts[:7]) == (ORGANISM, "a" * 64, "now", ["1", "1", "1", "0", "0", "0", "0"])


def test_two_accounts_open_originals_and_one_closes(run: Any) -> None:
    ours = group(run.house, "alice")
    name = released(run.house, ours)
    original = (name.accession, 1, "rawReads", "original_1.fastq.gz")
    assert run("ann", "public-originals", "candidates", "--organism", ORGANISM, "--group", ours).stdout == f"{name}\n"
    run("ann", "public-originals", "request", name, "--reason", WHY)
    alone = run("ann", "public-originals", "confirm", name, fails=True)
    assert isinstance(alone.exception, Forbidden)
    assert run("bea", "public-originals", "confirm", name).stdout.startswith(f"{name}\topen\t1\t")
    assert file_url(run.house, None, *original)
    assert f"{name}\topen" in run("ann", "public-originals", "list", "--state", "open").stdout
    assert run("ann", "public-originals", "list", "--state", "closed").stdout == ""
    run("ann", "public-originals", "list", "--state", "ajar", fails=True)
    run("ann", "public-originals", "close", name, "--reason", WHY)
    with pytest.raises(Gone, match=WHY):
        file_url(run.house, None, *original)
