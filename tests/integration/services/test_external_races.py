"""External pipelines side by side: each entry goes to one of them, and each has exactly one result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from readvault.domain.errors import RuleViolation
from readvault.domain.identifiers import AccessionVersion
from readvault.services.house import House
from readvault.services.processing import pipeline_versions
from readvault.services.queue.new_jobs import call_off
from readvault.services.review.approval import Scope, approve
from tests.houses import ALICE, MAINTAINER, group_of
from tests.integration.services import pipeline_scenes as scene
from tests.integration.services.scenes import ORGANISM, manifests


@pytest.fixture
def group_id(house: House) -> int:
    scene.attach(house)
    return group_of(house, ALICE)


def at_once(*actions: Callable[[], Any]) -> list[Any]:
    """What each action gave, or the fault that it raised, all begun in the same moment."""
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], Any]) -> Any:
        barrier.wait(10)
        try:
            return action()
        except RuleViolation as fault:
            return fault

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def entries(house: House, group_id: int, count: int) -> list[AccessionVersion]:
    return [scene.received(house, group_id, f"LOC_{number:03}", files=()) for number in range(count)]


@pytest.mark.parametrize("version", [1, 2])
def test_parallel_pipelines_share_the_work(house: House, group_id: int, version: int) -> None:
    """Version 1 finds jobs that wait, version 2 makes its own."""
    expected = entries(house, group_id, 24)
    got = at_once(*[lambda: scene.names_of(scene.ask(house, 8, version))] * 4)
    claimed = [name for names in got for name in names]
    assert len(claimed) == len(set(claimed))
    claimed += scene.names_of(scene.ask(house, 100, version))
    assert sorted(claimed) == expected
    assert scene.ask(house, 100, version) == []


def test_of_two_results_one_is_taken(house: House, group_id: int) -> None:
    """The claim ran out, another pipeline took it, and both answer now."""
    names = entries(house, group_id, 4)
    scene.ask(house)
    for _ in range(2):
        results = at_once(*[lambda: scene.answer(house, *map(scene.sent, names))] * 3)
        scene.ask(house)
    assert sum(isinstance(result, RuleViolation) for result in results) == 3
    assert [len(manifests(house, name)) for name in names] == [1] * 4


def test_overlapping_requests_in_opposite_order_do_not_block_each_other(house: House, group_id: int) -> None:
    names = entries(house, group_id, 8)
    scene.ask(house)
    results = at_once(
        lambda: scene.answer(house, *map(scene.sent, names)),
        lambda: scene.answer(house, *map(scene.sent, reversed(names))),
        lambda: scene.answer(house, scene.sent(names[3])),
    )
    assert [result for result in results if not isinstance(result, RuleViolation | type(None))] == []
    for name in set(names) - {names[3]}:
        assert len(manifests(house, name)) <= 1
    assert len(manifests(house, names[3])) == 1


def test_an_edit_and_a_result_at_once(house: House, group_id: int) -> None:
    """Either the result came first, or it is refused; a called off job never registers."""
    names = entries(house, group_id, 6)
    scene.ask(house)

    def call_all_off() -> None:
        from sqlalchemy import select
        from sqlmodel import col

        from readvault.db.tables import EntryVersion

        with house.sessions.begin() as session:
            lock = select(EntryVersion).order_by(col(EntryVersion.accession)).with_for_update(key_share=True)
            session.execute(lock).all()
            call_off(session, names)

    results = at_once(call_all_off, lambda: scene.answer(house, *map(scene.sent, names)))
    taken = not isinstance(results[1], RuleViolation)
    assert [len(manifests(house, name)) for name in names] == [int(taken)] * 6


def test_approval_and_a_newer_version_at_once(house: House, group_id: int) -> None:
    """Whatever comes first, in the end the released entry has the current version's result."""
    names = entries(house, group_id, 3)
    scene.ask(house)
    scene.answer(house, *map(scene.sent, names))
    scene.ask(house, version=2)
    at_once(
        lambda: approve(house, ALICE, ORGANISM, scope=Scope.ALL),
        lambda: scene.answer(house, *map(scene.sent, names), version=2),
    )
    pipeline_versions.upgrade_all(house)
    assert pipeline_versions.current_versions(house, MAINTAINER) == {ORGANISM: 2}
    assert {scene.look(house, name)["pipelineVersion"] for name in names} == {2}
    assert {scene.look(house, name)["status"] for name in names} == {"APPROVED_FOR_RELEASE"}
