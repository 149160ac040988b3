"""What is erased while it is repaired stays erased: no pin, no version and no copy of it comes back."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import select

from readvault.db import records
from readvault.db.tables import Erasure, Job
from readvault.domain.errors import Conflict
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind
from readvault.services.house import House
from readvault.services.storage.erasing import erasure, erasure_plan, shredding
from readvault.services.storage.integrity import repair, verification
from readvault.services.storage.integrity.pinned import Pinned, pinned_at
from readvault.services.storage.rebuilding.records import export
from tests.fakes import MemoryStore
from tests.houses import ALICE, MAINTAINER, group_of
from tests.integration.services.published import released
from tests.integration.services.scenes import processed
from tests.integration.services.test_erasure import OTHER, REASON, erase
from tests.integration.services.test_repair import flip, key_of, primary, publish, second


@pytest.fixture
def house(house: House) -> House:
    """A house with a second bucket."""
    return replace(house, second_store=MemoryStore())


@pytest.fixture
def name(house: House) -> AccessionVersion:
    """A released entry whose processed file is known to be damaged; the second bucket has it whole."""
    name, _ = released(house, group_of(house, ALICE))
    publish(house)
    primary(house).locked.clear()
    second(house).locked.clear()
    flip(primary(house), key_of(house, "vault/"))
    verification.verify(house, days=0, survey_every=0, repairs=False)
    return name


def damaged(house: House) -> Pinned:
    pinned = pinned_at(house, key_of(house, "vault/"))
    assert pinned is not None
    return pinned


def test_an_erasure_that_is_confirmed_meanwhile_holds(
    house: House, name: AccessionVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = damaged(house)
    asked, _ = erasure.request(house, MAINTAINER, [name], REASON)
    assert asked.id is not None
    repairing = threading.Thread(target=repair.repair, args=(house, pinned))

    def begin_to_repair(point: str) -> None:
        if point == "erase-before-confirm":  # all is decided, nothing is committed
            repairing.start()
            time.sleep(0.3)

    monkeypatch.setattr(erasure, "failpoint", begin_to_repair)
    erasure.confirm(house, OTHER, asked.id, objects=asked.objects, code=asked.code)
    repairing.join(20)
    assert pinned_at(house, pinned.key) is None
    assert shredding.carry_on(house, asked.id).finished_at is not None
    assert pinned.key not in primary(house).versions


def test_an_erasure_that_is_done_meanwhile_leaves_no_bytes(
    house: House, name: AccessionVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned, store = damaged(house), primary(house)
    store_again = store.store_again

    def put_late(*args: Any, **options: Any) -> Any:
        assert erase(house, name).finished_at is not None
        return store_again(*args, **options)

    monkeypatch.setattr(store, "store_again", put_late)
    repair.repair(house, pinned)
    with house.sessions.read() as session:
        assert not session.exec(select(Job.id).where(Job.kind == JobKind.REPAIR.value)).all()
    assert pinned.key not in store.versions
    assert pinned.key not in second(house).versions


def test_of_two_erasures_of_one_version_the_second_is_refused(
    house: House, name: AccessionVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both confirmed at once, and both of a version without files: its name is all that they meet in."""
    monkeypatch.setattr(erasure_plan, "targets", lambda *_: [])
    one, other = (erasure.request(house, MAINTAINER, [name], REASON)[0] for _ in range(2))
    refused: list[Exception] = []

    def confirm(row: Erasure) -> None:
        try:
            erasure.confirm(house, OTHER, row.id or 0, objects=row.objects, code=row.code)
        except Exception as fault:
            refused.append(fault)

    second_one = threading.Thread(target=confirm, args=(other,))

    def begin_another(point: str) -> None:
        if point == "erase-before-confirm" and second_one.ident is None:
            second_one.start()
            time.sleep(0.3)

    monkeypatch.setattr(erasure, "failpoint", begin_another)
    confirm(one)
    second_one.join(20)
    assert [type(fault) for fault in refused] == [Conflict]


def test_a_record_that_was_being_written_leaves_nothing_of_what_was_erased(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _ = processed(house, group_of(house, ALICE))
    export(house)
    with house.sessions.begin() as session:
        records.changed(session, [name])
    both, put = (primary(house), second(house)), primary(house).store

    def put_late(*args: Any, **options: Any) -> Any:
        monkeypatch.undo()
        assert erase(house, name).finished_at is not None
        return put(*args, **options)

    monkeypatch.setattr(primary(house), "store", put_late)
    export(house)
    export(house)
    place = f"records/{name.accession}/1/"
    told = [data for each in both for key in each.versions if key.startswith(place) for _, data in each.versions[key]]
    assert told
    assert not [data for data in told if json.loads(data)["rows"].get("entry_version")]
