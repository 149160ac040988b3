"""What a newer external pipeline still lacks is found without asking the whole table again and again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event

from readvault.domain.identifiers import AccessionVersion
from readvault.services.house import House
from readvault.services.processing import external_claims, external_missing
from tests.houses import ALICE, PIPELINE, group_of
from tests.integration.services import pipeline_scenes as scene
from tests.integration.services.scenes import ORGANISM

NEWER = 2


@pytest.fixture
def group_id(house: House) -> int:
    scene.attach(house)
    return group_of(house, ALICE)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time of searches; every look at it makes a second pass."""
    now = [1_000.0]

    def tick() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(external_missing.time, "monotonic", tick)
    return now  # type: ignore[return-value]


@pytest.fixture
def searches(house: House) -> Iterator[list[Any]]:
    """Every statement that looks for entries without a result, with where it began."""
    seen: list[Any] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT entry_version.accession, entry_version.version") and "manifest" in statement:
            seen.append(parameters)

    event.listen(house.sessions.engine, "before_cursor_execute", note)
    yield seen
    event.remove(house.sessions.engine, "before_cursor_execute", note)


def entries(house: House, group_id: int, count: int) -> list[AccessionVersion]:
    return [scene.received(house, group_id, f"LOC_{number:03}", files=()) for number in range(count)]


def asked(house: House, count: int) -> list[AccessionVersion]:
    return scene.names_of(scene.ask(house, count, version=NEWER))


def test_small_batches_go_on_where_the_last_one_stopped(house: House, group_id: int, searches: list[Any]) -> None:
    names = entries(house, group_id, 7)
    given = [asked(house, 2) for _ in range(4)]
    assert given == [names[:2], names[2:4], names[4:6], names[6:]]
    began = [next((str(each) for each in _values(one) if str(each).startswith("LOC_")), None) for one in searches]
    assert {name.accession for name in (names[1], names[3])} <= set(began)


def test_what_is_missing_before_the_place_is_found_at_the_end(house: House, group_id: int) -> None:
    late, *names = entries(house, group_id, 5)
    with_job = scene.ask(house, 1)  # the older version works on the first one, which is no hindrance
    assert scene.names_of(with_job) == [late]
    assert asked(house, 2) == [late, names[0]]
    earlier = scene.received(house, group_id, "AAA_1", files=())
    assert asked(house, 2) == names[1:3]
    assert asked(house, 2) in ([earlier, names[3]], [names[3]])
    assert asked(house, 5) in ([earlier], [])


def test_a_search_that_took_long_and_found_nothing_rests(
    house: House, group_id: int, clock: list[float], searches: list[Any]
) -> None:
    (first,) = entries(house, group_id, 1)
    assert asked(house, 5) == [first]
    looked = len(searches)
    second = scene.received(house, group_id, "LOC_9", files=())
    assert asked(house, 5) == []
    assert len(searches) == looked
    clock[0] += external_missing.REST * 10
    assert asked(house, 5) == [second]


def test_an_answer_while_it_rested_hides_nothing_for_ever(
    house: House, group_id: int, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_claims, "SETTLED", -1.0)
    (first,) = entries(house, group_id, 1)
    assert asked(house, 5) == [first]
    second = scene.received(house, group_id, "LOC_9", files=())
    etag = external_claims.claim(house, PIPELINE, ORGANISM, count=5, pipeline_version=NEWER).etag
    clock[0] += external_missing.REST * 10
    claimed = external_claims.claim(house, PIPELINE, ORGANISM, count=5, pipeline_version=NEWER, if_none_match=etag)
    assert claimed.names == (second,)


def test_under_the_same_etag_nothing_is_looked_for_twice(
    house: House, group_id: int, searches: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_claims, "SETTLED", -1.0)
    entries(house, group_id, 1)
    for _ in range(2):
        asked(house, 5)
    looked = len(searches)
    claimed = external_claims.claim(house, PIPELINE, ORGANISM, count=5, pipeline_version=NEWER)
    assert (claimed.names, len(searches)) == ((), looked)


def _values(parameters: Any) -> list[Any]:
    return list(parameters.values()) if isinstance(parameters, dict) else list(parameters)
