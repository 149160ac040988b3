"""Data use terms: shortened or opened, never extended; they lapse by their date without anybody's doing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select

from readvault.db.tables import DataUseTerms
from readvault.domain.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    ReadvaultError,
    Unauthenticated,
    Unprocessable,
)
from readvault.domain.identifiers import AccessionVersion
from readvault.services.entries.released_state import released_etag
from readvault.services.house import House
from readvault.services.submission.terms import Terms, as_json, change, history, terms_now
from tests.houses import ALICE, BOB, MAINTAINER
from tests.integration.services.life import at_once, counts, released
from tests.integration.services.scenes import ORGANISM, audit_log, entry, group


def _day(offset: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=offset)).isoformat()


@pytest.fixture
def mine(house: House) -> int:
    return group(house, "alice")


def _restricted(house: House, mine: int, until: str) -> AccessionVersion:
    name, _ = entry(house, mine)
    with house.sessions.begin() as session:
        session.add(
            DataUseTerms(accession=name.accession, terms_type="RESTRICTED", restricted_until=until,
                         user_name="alice", changed_at=1.5)
        )  # fmt: skip
    return name


def _change(house: House, *names: AccessionVersion, until: str | None = None, actor: Any = ALICE) -> None:
    kind = "OPEN" if until is None else "RESTRICTED"
    change(house, actor, [name.accession for name in names], terms_type=kind, restricted_until=until)


def _refused(house: House, error: type[ReadvaultError], *names: AccessionVersion, **options: Any) -> str:
    before = counts(house)
    with pytest.raises(error) as refusal:
        _change(house, *names, **options)
    assert type(refusal.value) is error
    assert counts(house) == before
    return str(refusal.value)


def _now(house: House, name: AccessionVersion) -> Terms:
    with house.sessions.read() as session:
        return terms_now(session, [name.accession, "unknown"])[name.accession]


def test_a_restriction_is_opened_or_shortened(house: House, mine: int) -> None:
    first, second = _restricted(house, mine, _day(100)), _restricted(house, mine, _day(90))
    _change(house, first, second, until=_day(80))
    assert _now(house, first) == _now(house, second) == Terms("RESTRICTED", _day(80))
    _change(house, first, until=_day(80))
    _change(house, first, actor=MAINTAINER)
    assert _now(house, first) == Terms()
    assert audit_log(house)[-1].action == "change data use terms"
    assert audit_log(house)[-1].details["accessions"] == [first.accession]


@pytest.mark.parametrize(
    ("until", "error", "text"),
    [
        (90, Unprocessable, "Cannot extend restricted data use period. Please choose a date before {old}."),
        (-1, BadRequest, "The date 'restrictedUntil' must be in the future, up to a maximum of 1 year from now."),
        (400, BadRequest, "The date 'restrictedUntil' must be in the future, up to a maximum of 1 year from now."),
    ],
)
def test_a_restriction_is_never_extended(
    house: House, mine: int, until: int, error: type[ReadvaultError], text: str
) -> None:
    name, other = _restricted(house, mine, _day(80)), _restricted(house, mine, _day(95))
    assert _refused(house, error, other, name, until=_day(until)) == text.format(old=_day(80))


def test_what_is_open_stays_open(house: House, mine: int) -> None:
    name, _ = entry(house, mine)
    assert "Cannot change data use terms from OPEN to RESTRICTED." in _refused(
        house, Unprocessable, name, until=_day(3)
    )
    assert _refused(house, Unprocessable, name).startswith("The data use terms have already been set to 'Open'")


def test_a_restriction_lapses_by_its_date(house: House, mine: int) -> None:
    name = _restricted(house, mine, _day(0))
    terms = _now(house, name)
    assert as_json(terms, date.fromisoformat(_day(-1))) == {"type": "RESTRICTED", "restrictedUntil": _day(0)}
    assert as_json(terms, date.fromisoformat(_day(0))) == {"type": "OPEN"}
    assert "from OPEN to RESTRICTED" in _refused(house, Unprocessable, name, until=_day(0))
    _change(house, name)  # to say so in the history is no change of what holds


@pytest.mark.parametrize("until", ["2024-13-01", "tomorrow", ""])
def test_dates_that_are_none(house: House, mine: int, until: str) -> None:
    name = _restricted(house, mine, _day(80))
    assert "must be a valid date" in _refused(house, BadRequest, name, until=until)


def test_who_may_change_them(house: House, mine: int) -> None:
    name = _restricted(house, mine, _day(80))
    _refused(house, Unauthenticated, name, actor=None)
    assert "bob is not a member of group(s)" in _refused(house, Forbidden, name, actor=BOB)
    unknown = (AccessionVersion("2", 1), AccessionVersion("1", 1))
    assert _refused(house, Unprocessable, *unknown, name) == "Accessions 1, 2 do not exist"
    with pytest.raises(BadRequest, match="Invalid dataUseTermsType: SECRET"):
        change(house, ALICE, [name.accession], terms_type="SECRET", restricted_until=None)


def test_the_history_is_told_in_order(house: House, mine: int) -> None:
    name = _restricted(house, mine, _day(80))
    _change(house, name, actor=MAINTAINER)
    submitted, restricted, opened = history(house, name.accession)
    assert submitted["dataUseTerms"] == {"type": "OPEN"}
    assert restricted == {
        "accession": name.accession,
        "changeDate": "1970-01-01T00:00:01.500000",
        "dataUseTerms": {"type": "RESTRICTED", "restrictedUntil": _day(80)},
        "userName": "alice",
    }
    assert (opened["dataUseTerms"], opened["userName"]) == ({"type": "OPEN"}, "maintainer")
    assert opened["changeDate"].startswith(_day(0))
    with pytest.raises(NotFound, match="Accession 123 not found"):
        history(house, "123")


def test_a_change_of_released_data_is_seen_by_whoever_reads_them(house: House, mine: int) -> None:
    name = released(house, mine)
    with house.sessions.begin() as session:
        session.add(
            DataUseTerms(accession=name.accession, terms_type="RESTRICTED", restricted_until=_day(80),
                         user_name="alice", changed_at=1.5)
        )  # fmt: skip
    before = released_etag(house, ORGANISM)
    _change(house, name)
    assert released_etag(house, ORGANISM) != before


def test_two_changes_at_once_never_extend(house: House, mine: int) -> None:
    """Each is checked against what the other one did."""
    for _ in range(3):
        name = _restricted(house, mine, _day(80))
        answers = at_once(lambda n=name: _change(house, n), lambda n=name: _change(house, n, until=_day(70)))
        assert all(answer is None or isinstance(answer, Unprocessable) for answer in answers), answers
        assert _now(house, name) == Terms()
        with house.sessions.read() as session:
            rows = session.exec(select(DataUseTerms).where(DataUseTerms.accession == name.accession)).all()
        assert len(rows) == 2 + sum(answer is None for answer in answers)
