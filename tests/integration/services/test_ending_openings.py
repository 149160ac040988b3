"""Originals that were open stay closed when their organism thinks otherwise twice, until two maintainers agree anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from readvault.domain import openings
from readvault.domain.errors import Gone, NotFound
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.openings import State
from readvault.domain.organism import Originals
from readvault.services.entries.released_state import released_etag
from readvault.services.house import House
from readvault.services.release import ending_openings, opening
from readvault.services.release.ending_openings import end_unwanted
from readvault.services.release.public_originals import KEPT
from readvault.services.storage.erasing import erasure
from readvault.services.storage.rebuilding.records import export
from tests.fakes import MemoryStore
from tests.houses import MAINTAINER
from tests.integration.services import scenes
from tests.integration.services.scenes import ORGANISM
from tests.integration.services.test_opening_originals import (
    OTHER,
    WHY,
    name,
    open_house,
    opened,
    released,
    state,
    url,
    wanting,
)

__all__ = ["name", "open_house"]


@pytest.fixture
def shut_house(open_house: House, tmp_path: Path) -> House:
    """The house whose organism's file says `group` since."""
    return replace(open_house, organisms={ORGANISM: wanting(tmp_path, originals=Originals())})


def test_an_opening_ends_when_the_organism_keeps_originals_with_their_groups(
    open_house: House, shut_house: House, name: AccessionVersion
) -> None:
    opened(open_house, name)
    assert end_unwanted(open_house) == 0
    before = released_etag(open_house, ORGANISM)
    assert end_unwanted(shut_house) == 1
    assert end_unwanted(shut_house) == 0
    with pytest.raises(Gone, match="closed: its organism keeps originals with their groups"):
        url(open_house, None, name)
    assert state(open_house, name) is State.CLOSED
    assert released_etag(open_house, ORGANISM) != before
    line = scenes.audit_log(open_house)[-1]
    assert (line.actor, line.action, line.details["versions"]) == ("readvault", "close originals", [str(name)])
    opened(open_house, name)
    assert url(open_house, None, name)


def test_a_request_ends_too_and_was_never_public(open_house: House, shut_house: House, name: AccessionVersion) -> None:
    opening.request(open_house, MAINTAINER, [name], WHY)
    assert end_unwanted(shut_house) == 1
    with pytest.raises(NotFound):
        url(open_house, None, name)
    assert state(open_house, name) is State.CLOSED


def test_an_organism_that_begins_to_shred_ends_openings_and_nobody_elses_change(
    open_house: House, name: AccessionVersion, tmp_path: Path
) -> None:
    opened(open_house, name)
    shredding = wanting(tmp_path, originals=Originals(visibility="public_if_no_hits", shred_after_days=9))
    other = replace(open_house, organisms={"another": shredding.model_copy(update={"name": "another"})})
    assert end_unwanted(other) == 0
    assert end_unwanted(replace(open_house, organisms={ORGANISM: shredding})) == 1


def test_all_end_page_by_page_and_what_is_over_is_left_alone(
    open_house: House, shut_house: House, name: AccessionVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending_openings, "PAGE", 2)
    group = scenes.group(open_house, "alice")
    more = [released(open_house, group) for _ in range(3)]
    erased = released(open_house, scenes.group(open_house, "alice", "bob"))
    for each in (name, *more, erased):
        opened(open_house, each)
    opening.close(open_house, OTHER, [more[0]], "the group changed its mind")
    asked, _ = erasure.request(open_house, MAINTAINER, [erased], WHY)
    erasure.confirm(open_house, OTHER, asked.id or 0, objects=asked.objects, code=asked.code)
    assert end_unwanted(shut_house) == 3
    assert opening.page(open_house, MAINTAINER, state=State.REQUESTED) == []
    told = {each.name: each.reason for each in opening.page(open_house, MAINTAINER)}
    assert told[more[0]] == "the group changed its mind"


def test_a_void_request_is_no_opening(
    open_house: House, shut_house: House, name: AccessionVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening.request(open_house, MAINTAINER, [name], WHY)
    monkeypatch.setattr(openings, "CONFIRM_WITHIN", -1.0)
    assert end_unwanted(shut_house) == 0


def test_the_end_of_an_opening_is_in_the_records(open_house: House, shut_house: House, name: AccessionVersion) -> None:
    opened(open_house, name)
    end_unwanted(shut_house)
    export(open_house, seconds=60)
    assert isinstance(open_house.store, MemoryStore)
    bodies = [versions[-1][1] for key, versions in open_house.store.versions.items() if key.startswith("records/")]
    assert any(KEPT.encode() in body for body in bodies)
