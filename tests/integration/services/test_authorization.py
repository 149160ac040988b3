"""Who may do what: the whole table, asked of the one place that decides."""

from __future__ import annotations

import pytest

from readvault.db.tables import Group, GroupMember
from readvault.domain.actor import EXTERNAL_METADATA_ROLE, MAINTAINER_ROLE, PIPELINE_ROLE, Actor
from readvault.domain.errors import Forbidden, NotFound, Unauthenticated
from readvault.services.authorization import DROP_LINK, RULES, SCOPES, Action, authorize, is_member, own_groups
from readvault.services.house import House

ACTORS = {
    "anonymous": None,
    "member": Actor("alice"),
    "stranger": Actor("bob"),
    "pipeline": Actor("robot", frozenset({PIPELINE_ROLE})),
    "external updater": Actor("ena", frozenset({EXTERNAL_METADATA_ROLE})),
    "maintainer": Actor("root", frozenset({MAINTAINER_ROLE})),
}
USERS = {"member", "stranger", "pipeline", "external updater", "maintainer"}
# Written out by hand and not taken from the rules, so that a changed rule must be changed here too.
ALLOWED: dict[Action, set[str]] = {
    Action.CREATE_GROUP: USERS,
    Action.READ_GROUP: {"anonymous", *USERS},
    Action.READ_GROUP_CONTACT: USERS,
    Action.EDIT_GROUP: {"member", "maintainer"},
    Action.UPLOAD: {"member", "pipeline", "maintainer"},
    Action.LOOK_UP_FILE: USERS,
    Action.PULL: {"member", "maintainer"},
    Action.LOOK_UP_PULL: USERS,
    Action.SUBMIT: {"member", "maintainer"},
    Action.REVIEW: {"member", "maintainer"},
    Action.READ_ORIGINALS: {"member"},
    Action.APPROVE: {"member", "maintainer"},
    Action.DELETE: {"member", "maintainer"},
    Action.CHANGE_TERMS: {"member", "maintainer"},
    Action.READ_RELEASED: {"anonymous", *USERS},
    Action.READ_LIMITS: {"member", "maintainer"},
    Action.PREPROCESS: {"pipeline", "maintainer"},
    Action.UPDATE_EXTERNAL_METADATA: {"external updater", "maintainer"},
    Action.MANAGE_TOKENS: USERS,
    Action.BREAK_GLASS: {"maintainer"},
    Action.CONFIRM_ERASURE: {"maintainer"},
    Action.CONFIRM_OPENING: {"maintainer"},
    Action.CONFIRM_REPROCESSING: {"maintainer"},
    Action.DECIDE_WHAT_IS_PUBLIC: {"maintainer"},
    Action.MAINTAIN: {"maintainer"},
    Action.READ_FIGURES: {"maintainer"},
    Action.MANAGE_DROP_LINKS: {"member", "maintainer"},
    Action.READ_DROPPED: {"member", "maintainer"},
    Action.DELIVER: set(),
}


@pytest.fixture
def group(house: House) -> int:
    with house.sessions.begin() as session:
        group = Group(name="g", institution="i", address={}, contact_email="e", created_at=1.0)
        session.add(group)
        session.flush()
        assert group.id is not None
        session.add(GroupMember(group_id=group.id, user_name="alice"))
        return group.id


def test_every_action_has_a_rule_and_a_row_in_the_table() -> None:
    assert set(Action) == set(RULES) == set(ALLOWED)


@pytest.mark.parametrize("who", list(ACTORS))
def test_the_table_of_rights(house: House, group: int, who: str) -> None:
    refusal = Unauthenticated if who == "anonymous" else Forbidden
    allowed = set()
    with house.sessions.read() as session:
        for action in Action:
            try:
                authorize(session, ACTORS[who], action, group_id=group)
                allowed.add(action)
            except refusal:
                pass
    assert allowed == {action for action, actors in ALLOWED.items() if who in actors}


def test_a_stranger_is_told_so_in_the_words_of_loculus(house: House, group: int) -> None:
    with house.sessions.read() as session, pytest.raises(Forbidden) as refusal:
        authorize(session, ACTORS["stranger"], Action.SUBMIT, group_id=group)
    assert str(refusal.value) == f"User bob is not a member of group(s) {group}. Action not allowed."


@pytest.mark.parametrize("who", ["member", "pipeline", "maintainer"])
def test_nobody_acts_for_a_group_that_does_not_exist(house: House, group: int, who: str) -> None:
    with house.sessions.read() as session, pytest.raises(NotFound) as refusal:
        authorize(session, ACTORS[who], Action.UPLOAD, group_id=4711)
    assert str(refusal.value) == "Group(s) 4711 do(es) not exist."


def test_anonymous_does_not_learn_which_groups_exist(house: House, group: int) -> None:
    with house.sessions.read() as session:
        for group_id in (group, 4711):
            with pytest.raises(Unauthenticated):
                authorize(session, None, Action.SUBMIT, group_id=group_id)


def test_an_action_about_several_groups_needs_membership_in_each(house: House, group: int) -> None:
    with house.sessions.begin() as session:
        session.add(Group(name="h", institution="i", address={}, contact_email="e", created_at=1.0))
    with house.sessions.read() as session, pytest.raises(Forbidden, match=rf"group\(s\) {group + 1}\."):
        authorize(session, ACTORS["member"], Action.APPROVE, group_ids=[group, group + 1])


def test_an_action_about_no_group_is_refused_to_members(house: House, group: int) -> None:
    with house.sessions.read() as session, pytest.raises(Forbidden):
        authorize(session, ACTORS["member"], Action.APPROVE)


def test_a_removed_member_has_no_rights_at_the_next_question(house: House, group: int) -> None:
    with house.sessions.begin() as session:
        session.delete(session.get(GroupMember, (group, "alice")))
    with house.sessions.read() as session, pytest.raises(Forbidden):
        authorize(session, ACTORS["member"], Action.REVIEW, group_id=group)


SCOPED = {
    "upload": {Action.UPLOAD, Action.LOOK_UP_FILE, Action.PULL, Action.LOOK_UP_PULL, Action.READ_LIMITS},
    "submit": {
        Action.UPLOAD,
        Action.LOOK_UP_FILE,
        Action.PULL,
        Action.LOOK_UP_PULL,
        Action.READ_LIMITS,
        Action.SUBMIT,
        Action.REVIEW,
        Action.READ_DROPPED,
    },
    "review": {Action.REVIEW, Action.READ_ORIGINALS, Action.LOOK_UP_FILE, Action.READ_LIMITS},
    "approve": {Action.REVIEW, Action.APPROVE},
    "delete": {Action.REVIEW, Action.DELETE},
    "terms": {Action.CHANGE_TERMS},
    "groups": {Action.CREATE_GROUP, Action.EDIT_GROUP},
    "pipeline": {Action.UPLOAD, Action.LOOK_UP_FILE},
    "external-metadata": set(),
    "maintain": {Action.READ_LIMITS},
    "metrics": {Action.READ_FIGURES},
    "unheard-of": set(),
}
PUBLIC = {Action.READ_GROUP, Action.READ_GROUP_CONTACT, Action.READ_RELEASED}


def allowed_to(house: House, actor: Actor, group_id: int | None) -> set[Action]:
    allowed = set()
    with house.sessions.read() as session:
        for action in Action:
            try:
                authorize(session, actor, action, group_id=group_id)
                allowed.add(action)
            except Forbidden:
                pass
    return allowed


@pytest.mark.parametrize("scope", SCOPED)
def test_a_token_may_do_what_its_scope_names_and_its_user_may(house: House, group: int, scope: str) -> None:
    alice = Actor("alice", scopes=frozenset({scope}))
    assert allowed_to(house, alice, group) == SCOPED[scope] | PUBLIC
    assert not allowed_to(house, Actor("bob", scopes=frozenset({scope})), group) & {Action.SUBMIT, Action.REVIEW}


def test_who_holds_a_drop_link_may_deliver_for_its_group_and_nothing_else(house: House, group: int) -> None:
    holder = Actor("alice", scopes=frozenset({DROP_LINK}), only_group=group)
    assert allowed_to(house, holder, group) == {Action.DELIVER} | PUBLIC
    assert allowed_to(house, holder, group + 1) == PUBLIC


def test_every_scope_is_in_the_table() -> None:
    assert set(SCOPES) == set(SCOPED) - {"unheard-of"}


def test_a_token_without_scopes_may_do_nothing_but_what_is_public(house: House, group: int) -> None:
    assert allowed_to(house, Actor("alice", scopes=frozenset()), group) == PUBLIC


@pytest.mark.parametrize("scope", SCOPED)
def test_no_token_makes_tokens_or_breaks_the_glass(house: House, group: int, scope: str) -> None:
    root = Actor("root", frozenset({MAINTAINER_ROLE, PIPELINE_ROLE}), scopes=frozenset({scope}))
    in_person = {Action.MANAGE_TOKENS, Action.BREAK_GLASS, Action.CONFIRM_ERASURE, Action.CONFIRM_OPENING}
    assert not allowed_to(house, root, group) & in_person


def test_a_token_for_one_group_opens_no_other(house: House, group: int) -> None:
    with house.sessions.begin() as session:
        other = Group(name="h", institution="i", address={}, contact_email="e", created_at=1.0)
        session.add(other)
        session.flush()
        assert other.id is not None
        session.add(GroupMember(group_id=other.id, user_name="alice"))
    alice = Actor("alice", scopes=frozenset({"submit"}), only_group=group)
    assert Action.SUBMIT in allowed_to(house, alice, group)
    assert Action.SUBMIT not in allowed_to(house, alice, other.id)
    with house.sessions.read() as session:
        assert [is_member(session, alice, each) for each in (group, other.id)] == [True, False]
        assert list(session.execute(own_groups(alice)).scalars()) == [group]
        assert sorted(session.execute(own_groups(Actor("alice"))).scalars()) == [group, other.id]
        with pytest.raises(Forbidden):
            authorize(session, alice, Action.SUBMIT, group_ids=[group, other.id])


def test_a_token_for_one_group_takes_a_maintainers_and_a_pipelines_reach_away(house: House, group: int) -> None:
    with house.sessions.begin() as session:
        session.add(other := Group(name="h", institution="i", address={}, contact_email="e", created_at=1.0))
        session.flush()
    roles = frozenset({MAINTAINER_ROLE, PIPELINE_ROLE})
    robot = Actor("robot", roles, scopes=frozenset({"pipeline", "maintain", "submit"}), only_group=group)
    assert not robot.is_maintainer
    assert allowed_to(house, robot, other.id) == PUBLIC - {Action.READ_GROUP_CONTACT} | {
        Action.READ_GROUP_CONTACT,
        Action.LOOK_UP_FILE,
        Action.LOOK_UP_PULL,
    }
    assert not allowed_to(house, robot, None) & {Action.MAINTAIN, Action.PREPROCESS, Action.UPLOAD}
