"""Requests that may be sent again are done once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy.exc import StatementError
from sqlmodel import select

from readvault.db.tables import IdempotentRequest
from readvault.domain.actor import Actor
from readvault.domain.errors import Unprocessable
from readvault.services import idempotency
from readvault.services.house import House
from readvault.services.idempotency import NOT_ONCE, Once
from tests.houses import ALICE, BOB

ASKED = {"groupId": 1, "files": ["a", "b"]}


def once(key: str | None = "key", purpose: str = "test", asked: Any = ASKED) -> Once:
    return Once.of(key, purpose, asked)


def do(house: House, actor: Actor, request: Once, answer: dict[str, Any]) -> dict[str, Any]:
    """A use case: the answer is new or the earlier one."""
    with house.sessions.begin() as session:
        if (known := idempotency.earlier(session, actor, request)) is not None:
            return known
        idempotency.remember(session, actor, request, answer)
    return answer


def test_the_second_request_gets_the_answer_of_the_first(house: House) -> None:
    assert do(house, ALICE, once(), {"n": 1}) == {"n": 1}
    assert do(house, ALICE, once(), {"n": 2}) == {"n": 1}
    assert do(house, ALICE, once("another"), {"n": 3}) == {"n": 3}


def test_without_a_key_each_request_is_a_new_one(house: House) -> None:
    for request in (once(None), NOT_ONCE):
        assert do(house, ALICE, request, {"n": 1}) == {"n": 1}
        assert do(house, ALICE, request, {"n": 2}) == {"n": 2}


def test_keys_of_different_users_are_different(house: House) -> None:
    do(house, ALICE, once(), {"n": 1})
    assert do(house, BOB, once(), {"n": 2}) == {"n": 2}


@pytest.mark.parametrize("other", [once(asked={"groupId": 2}), once(purpose="other")])
def test_a_key_belongs_to_one_request(house: House, other: Once) -> None:
    do(house, ALICE, once(), {"n": 1})
    with pytest.raises(Unprocessable, match="was used for another request"):
        do(house, ALICE, other, {"n": 2})


def test_what_failed_is_not_remembered(house: House) -> None:
    with pytest.raises((StatementError, TypeError)):  # the drivers differ
        do(house, ALICE, once(), {"n": object()})
    assert do(house, ALICE, once(), {"n": 2}) == {"n": 2}


def test_fingerprints_tell_apart_what_was_asked() -> None:
    asked: list[tuple[Any, ...]] = [(b"ab", b"c"), (b"a", b"bc"), ("ab",), (b'"ab"',), ({"a": 1},), ({"a": "1"},)]
    asked += [(None,), ("ab", None), ()]
    assert len({Once.of("key", "test", *each).fingerprint for each in asked}) == len(asked)
    assert once(asked={"a": 1, "b": 2}) == once(asked={"b": 2, "a": 1})


def test_of_racing_requests_one_is_done_and_all_get_its_answer(house: House) -> None:
    answers: list[dict[str, Any]] = []
    together = threading.Barrier(8)

    def ask(number: int) -> None:
        together.wait()
        answers.append(do(house, ALICE, once(), {"n": number}))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len({answer["n"] for answer in answers}) == 1


def test_old_answers_are_forgotten(house: House) -> None:
    do(house, ALICE, once("old"), {"n": 1})
    do(house, ALICE, once("new"), {"n": 1})
    with house.sessions.begin() as session:
        session.get_one(IdempotentRequest, ("alice", "old")).at -= idempotency.KEPT_HOURS * 3600 + 1
    assert do(house, ALICE, once("old", asked="something else"), {"n": 2}) == {"n": 2}
    with house.sessions.begin() as session:
        session.get_one(IdempotentRequest, ("alice", "old")).at = 0
    assert idempotency.forget_old(house) == 1
    with house.sessions.read() as session:
        assert [row.key for row in session.exec(select(IdempotentRequest))] == ["new"]
