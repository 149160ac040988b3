"""Accounts and groups."""

from __future__ import annotations

from dataclasses import replace

import pytest

from readvault.config import IdentitySettings
from readvault.db import audit
from readvault.db.tables import UserAccount
from readvault.domain.errors import BadRequest, Conflict, Forbidden, NotFound, Unauthenticated
from readvault.domain.group import GroupDetails
from readvault.services.entries.released_state import released_etag
from readvault.services.house import House
from readvault.services.idempotency import Once
from readvault.services.people import groups
from readvault.services.people.accounts import create_account, find_account, verify_password
from readvault.services.release.released_data import released_data
from tests.houses import ALICE, BOB, GROUP, MAINTAINER, group_of
from tests.integration.services.published import released
from tests.integration.services.scenes import ORGANISM


def test_the_right_password_and_no_other_opens(house: House) -> None:
    create_account(house, "alice", "wonderland", ["super_user"])
    actor = verify_password(house, "alice", "wonderland")
    assert actor is not None
    assert actor.name == "alice"
    assert actor.is_maintainer
    assert verify_password(house, "alice", "Wonderland") is None
    assert verify_password(house, "nobody", "wonderland") is None


def test_equal_passwords_are_stored_differently_and_never_in_clear(house: House) -> None:
    create_account(house, "alice", "wonderland")
    create_account(house, "bob", "wonderland")
    with house.sessions.read() as session:
        first, second = (session.get_one(UserAccount, name).password_hash for name in ("alice", "bob"))
    assert first != second
    assert "wonderland" not in first


def test_a_disabled_account_is_closed(house: House) -> None:
    create_account(house, "alice", "wonderland")
    with house.sessions.begin() as session:
        session.get_one(UserAccount, "alice").disabled = True
    assert verify_password(house, "alice", "wonderland") is None
    assert find_account(house, "alice") is None


def test_a_name_is_taken_once(house: House) -> None:
    create_account(house, "alice", "one")
    with pytest.raises(Conflict):
        create_account(house, "alice", "two")
    assert verify_password(house, "alice", "one") is not None


@pytest.mark.parametrize(("name", "password"), [("", "x"), ("a b", "x"), ("../etc", "x"), ("alice", "")])
def test_unusable_names_and_passwords_are_refused(house: House, name: str, password: str) -> None:
    with pytest.raises(BadRequest):
        create_account(house, name, password)


def test_who_makes_a_group_is_its_member(house: House) -> None:
    group_id = group_of(house, ALICE)
    view, members = groups.get_group(house, BOB, group_id)
    assert members == ["alice"]
    assert view.model_dump(by_alias=True) == {
        "groupId": group_id,
        "groupName": "Group",
        "institution": "Institution",
        "address": {
            "line1": "1 Way",
            "line2": "",
            "city": "Basel",
            "state": "",
            "postalCode": "4000",
            "country": "Switzerland",
        },
        "contactEmail": "group@example.org",
    }


def test_anonymous_sees_neither_contact_nor_members(house: House) -> None:
    view, members = groups.get_group(house, None, group_of(house, ALICE))
    assert view.contact_email is None
    assert members is None


def test_anonymous_makes_and_lists_no_groups(house: House) -> None:
    with pytest.raises(Unauthenticated):
        groups.create_group(house, None, GROUP)
    with pytest.raises(Unauthenticated):
        groups.list_groups(house, None)


def test_a_group_that_is_not_there(house: House) -> None:
    with pytest.raises(NotFound, match=r"^Group 4711 does not exist\.$"):
        groups.get_group(house, ALICE, 4711)
    with pytest.raises(NotFound):
        groups.edit_group(house, MAINTAINER, 4711, GROUP)


def test_members_edit_and_strangers_do_not(house: House) -> None:
    group_id = group_of(house, ALICE)
    renamed = GROUP.model_copy(update={"group_name": "New"})
    assert groups.edit_group(house, ALICE, group_id, renamed).group_name == "New"
    assert groups.get_group(house, None, group_id)[0].group_name == "New"
    with pytest.raises(Forbidden):
        groups.edit_group(house, BOB, group_id, GROUP)


def test_everybody_sees_their_own_groups_and_maintainers_all(house: House) -> None:
    first, second = group_of(house, ALICE), group_of(house, BOB)
    assert [group.group_id for group in groups.groups_of(house, ALICE)] == [first]
    assert [group.group_id for group in groups.groups_of(house, BOB)] == [second]
    assert [group.group_id for group in groups.groups_of(house, MAINTAINER)] == [first, second]
    assert [group.group_id for group in groups.list_groups(house, ALICE, name="Group")] == [first, second]
    assert groups.list_groups(house, ALICE, name="Other") == []


def test_members_come_and_go(house: House) -> None:
    group_id = group_of(house, ALICE)
    create_account(house, "bob", "builder")
    groups.add_member(house, ALICE, group_id, "bob")
    assert groups.get_group(house, BOB, group_id)[1] == ["alice", "bob"]
    with pytest.raises(Conflict):
        groups.add_member(house, ALICE, group_id, "bob")
    groups.remove_member(house, BOB, group_id, "alice")
    with pytest.raises(Forbidden):
        groups.add_member(house, ALICE, group_id, "alice")
    groups.remove_member(house, BOB, group_id, "alice")  # is none any more: no error, no line in the log


def test_a_group_that_lost_its_last_member_is_brought_back_by_a_maintainer(house: House) -> None:
    group_id = group_of(house, ALICE)
    create_account(house, "alice", "wonderland")
    groups.remove_member(house, ALICE, group_id, "alice")
    with pytest.raises(Forbidden):
        groups.add_member(house, ALICE, group_id, "alice")
    groups.add_member(house, MAINTAINER, group_id, "alice")
    assert groups.get_group(house, ALICE, group_id)[1] == ["alice"]


@pytest.mark.parametrize("name", ["alice", "bob", "nobody"])
def test_nobody_joins_a_group_that_is_not_there(house: House, name: str) -> None:
    for change in (groups.add_member, groups.remove_member):
        with pytest.raises(NotFound, match=r"^Group\(s\) 4711 do\(es\) not exist\.$"):
            change(house, MAINTAINER, 4711, name)


def test_a_request_for_a_group_that_is_sent_again_makes_one(house: House) -> None:
    once = Once.of("key", "create group", {})
    first = groups.create_group(house, ALICE, GROUP, once=once)
    renamed = GROUP.model_copy(update={"group_name": "New"})
    groups.edit_group(house, ALICE, first.group_id, renamed)
    again = groups.create_group(house, ALICE, GROUP, once=once)
    assert (again.group_id, again.group_name) == (first.group_id, "New")
    assert len(groups.groups_of(house, ALICE)) == 1


def test_an_unknown_user_becomes_no_member_unless_somebody_else_issues_logins(house: House) -> None:
    group_id = group_of(house, ALICE)
    with pytest.raises(NotFound, match="User carol does not exist"):
        groups.add_member(house, ALICE, group_id, "carol")
    outside = house.settings.model_copy(update={"identity": IdentitySettings(jwks_url="https://example.org/certs")})
    groups.add_member(replace(house, settings=outside), ALICE, group_id, "carol")
    assert groups.get_group(house, ALICE, group_id)[1] == ["alice", "carol"]


def test_what_happens_to_groups_is_in_the_audit_log(house: House) -> None:
    group_id = group_of(house, ALICE)
    create_account(house, "bob", "builder")
    groups.add_member(house, ALICE, group_id, "bob")
    with house.sessions.read() as session:
        assert audit.verify(session) == []
        rows = session.connection().exec_driver_sql("SELECT actor, action FROM audit_log ORDER BY id").all()
    assert [tuple(row) for row in rows] == [
        ("alice", "create group"),
        ("readvault", "add user"),
        ("alice", "add member"),
    ]


def test_another_name_of_a_group_is_news_of_what_it_has_released(house: House) -> None:
    group_id = group_of(house, ALICE)
    groups.edit_group(house, ALICE, group_id, replace_name("Still nothing released"))
    assert released_etag(house, ORGANISM).startswith('"0-')
    released(house, group_id)
    before = released_etag(house, ORGANISM)
    groups.edit_group(house, ALICE, group_id, replace_name("Another name"))
    assert released_etag(house, ORGANISM) != before
    [line] = released_data(house, ORGANISM)
    assert line["metadata"]["groupName"] == "Another name"
    after = released_etag(house, ORGANISM)
    groups.edit_group(house, ALICE, group_id, replace_name("Another name"))
    assert released_etag(house, ORGANISM) == after


def replace_name(name: str) -> GroupDetails:
    return GROUP.model_copy(update={"group_name": name})
