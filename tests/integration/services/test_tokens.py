"""Machine tokens: made once, kept as a hash, gone with their account."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import col, select

from readvault.db.tables import GroupMember, MachineToken, UserAccount
from readvault.domain.actor import MAINTAINER_ROLE, Actor
from readvault.domain.errors import BadRequest, Forbidden, NotFound, Unauthenticated, Unprocessable
from readvault.services.house import House
from readvault.services.idempotency import Once
from readvault.services.people import accounts, tokens
from tests.houses import ALICE, BOB, MAINTAINER, group_of
from tests.integration.services import scenes


@pytest.fixture
def alice(house: House) -> Actor:
    return accounts.create_account(house, "alice", "wonderland")


def make(house: House, actor: Actor, **changes: Any) -> tuple[tokens.TokenView, str]:
    wish: dict[str, Any] = {"name": "plate robot", "scopes": ["upload", "submit"], "days": 30}
    view, token = tokens.make_token(house, actor, **(wish | changes))
    assert token is not None
    return view, token


def rows(house: House) -> list[MachineToken]:
    with house.sessions.read() as session:
        return list(session.exec(select(MachineToken).order_by(col(MachineToken.created_at))))


def test_a_token_acts_for_its_user_with_its_scopes_and_group(house: House, alice: Actor) -> None:
    group_id = group_of(house, alice)
    view, token = make(house, alice, group_id=group_id)
    assert tokens.actor_of_token(house, token) == Actor(
        "alice", scopes=frozenset({"upload", "submit"}), only_group=group_id
    )
    assert view.expires_at - view.created_at == 30 * 86_400


def test_the_token_itself_is_kept_nowhere(house: House, alice: Actor) -> None:
    _, token = make(house, alice)
    assert token.startswith("rvt_")
    assert len(token) > 40
    (row,) = rows(house)
    assert token[4:] not in repr(row.model_dump())
    assert token[4:] not in repr([line.model_dump() for line in scenes.audit_log(house)])


@pytest.mark.parametrize("token", ["", "rvt_", "rvt_x", "rvt_" + "x" * 100_000, "rvt_' OR 1=1 --", "rvt_\ud800"])
def test_an_unknown_token_is_nobodys(house: House, alice: Actor, token: str) -> None:
    make(house, alice)
    assert tokens.actor_of_token(house, token) is None


def test_the_hash_of_a_token_is_no_token(house: House, alice: Actor) -> None:
    make(house, alice)
    (row,) = rows(house)
    for stolen in (row.token_sha256, "rvt_" + row.token_sha256, row.id):
        assert tokens.actor_of_token(house, stolen) is None


def test_an_expired_token_is_nobodys(house: House, alice: Actor) -> None:
    view, token = make(house, alice, days=1)
    with house.sessions.begin() as session:
        session.get_one(MachineToken, view.id).expires_at = view.created_at - 1
    assert tokens.actor_of_token(house, token) is None


def test_a_revoked_token_is_nobodys_and_revoking_twice_is_no_error(house: House, alice: Actor) -> None:
    view, token = make(house, alice)
    _, other = make(house, alice)
    tokens.revoke_token(house, alice, view.id)
    tokens.revoke_token(house, alice, view.id)
    assert tokens.actor_of_token(house, token) is None
    assert tokens.actor_of_token(house, other) is not None
    assert [line.action for line in scenes.audit_log(house)].count("revoke token") == 1


def test_another_users_token_can_be_revoked_by_maintainers_only(house: House, alice: Actor) -> None:
    view, token = make(house, alice)
    for stranger in (BOB, Actor("mallory")):
        with pytest.raises(NotFound, match="There is no such token"):
            tokens.revoke_token(house, stranger, view.id)
    with pytest.raises(NotFound, match="There is no such token"):
        tokens.revoke_token(house, alice, "no-such-id")
    assert tokens.actor_of_token(house, token) is not None
    tokens.revoke_token(house, MAINTAINER, view.id)
    assert tokens.actor_of_token(house, token) is None


def test_tokens_die_with_the_account(house: House, alice: Actor) -> None:
    _, token = make(house, alice)
    assert accounts.disable_account(house, MAINTAINER, "alice") == 1
    assert tokens.actor_of_token(house, token) is None
    accounts.set_password(house, MAINTAINER, "alice", "new", enable=True)
    assert accounts.verify_password(house, "alice", "new") == Actor("alice")
    assert tokens.actor_of_token(house, token) is None, "a token that died stays dead"


def test_a_removed_account_takes_its_tokens_along(house: House, alice: Actor) -> None:
    _, token = make(house, alice)
    with house.sessions.begin() as session:
        session.delete(session.get_one(UserAccount, "alice"))
    assert tokens.actor_of_token(house, token) is None


def test_a_token_has_the_roles_that_its_user_has_now(house: House) -> None:
    root = accounts.create_account(house, "root", "password", [MAINTAINER_ROLE])
    _, token = make(house, root, scopes=["maintain"])
    found = tokens.actor_of_token(house, token)
    assert found is not None
    assert found.is_maintainer
    with house.sessions.begin() as session:
        session.get_one(UserAccount, "root").roles = []
    found = tokens.actor_of_token(house, token)
    assert found is not None
    assert not found.is_maintainer


def test_tokens_are_made_by_people_only(house: House, alice: Actor) -> None:
    _, token = make(house, alice, scopes=["upload", "submit", "review", "approve", "groups"])
    robot = tokens.actor_of_token(house, token)
    assert robot is not None
    with pytest.raises(Forbidden, match="not meant"):
        make(house, robot)
    with pytest.raises(Forbidden, match="not meant"):
        tokens.list_tokens(house, robot)
    with pytest.raises(Unauthenticated):
        tokens.make_token(house, None, name="x", scopes=["upload"], days=1)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"days": 0}, BadRequest),
        ({"days": 366}, BadRequest),
        ({"days": -1}, BadRequest),
        ({"scopes": []}, Unprocessable),
        ({"scopes": ["everything"]}, Unprocessable),
        ({"scopes": ["upload", ""]}, Unprocessable),
        ({"group_id": 4711}, NotFound),
    ],
    ids=repr,
)
def test_wishes_that_are_refused(house: House, alice: Actor, changes: dict[str, Any], refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        make(house, alice, **changes)
    assert rows(house) == []


def test_nobody_makes_a_token_for_a_group_of_others(house: House, alice: Actor) -> None:
    group_id = group_of(house, BOB)
    with pytest.raises(Forbidden):
        make(house, alice, group_id=group_id)


def test_a_removed_member_has_nothing_of_a_token_for_the_group(house: House, alice: Actor) -> None:
    from readvault.services.authorization import Action, authorize

    group_id = group_of(house, alice)
    _, token = make(house, alice, group_id=group_id)
    with house.sessions.begin() as session:
        session.delete(session.get_one(GroupMember, (group_id, "alice")))
    robot = tokens.actor_of_token(house, token)
    with house.sessions.read() as session, pytest.raises(Forbidden):
        authorize(session, robot, Action.SUBMIT, group_id=group_id)


def test_a_user_sees_only_their_own_tokens(house: House, alice: Actor) -> None:
    first, _ = make(house, alice, name="first")
    second, _ = make(house, alice, name="second")
    make(house, accounts.create_account(house, "bob", "builder"))
    assert {view.id for view in tokens.list_tokens(house, ALICE)} == {first.id, second.id}


def test_a_request_that_is_sent_again_makes_one_token_and_tells_it_once(house: House, alice: Actor) -> None:
    once = Once.of("key", "make token", {"a": 1})
    view, token = tokens.make_token(house, alice, name="x", scopes=["upload"], days=1, once=once)
    again, nothing = tokens.make_token(house, alice, name="x", scopes=["upload"], days=1, once=once)
    assert token is not None
    assert (again, nothing) == (view, None)
    assert len(rows(house)) == 1


def test_a_user_has_at_most_a_hundred_open_tokens(house: House, alice: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_OPEN", 2)
    view, _ = make(house, alice)
    make(house, alice)
    with pytest.raises(Unprocessable, match="2 open tokens"):
        make(house, alice)
    tokens.revoke_token(house, alice, view.id)
    make(house, alice)


def test_only_maintainers_disable_and_set_passwords(house: House, alice: Actor) -> None:
    for actor in (alice, BOB, Actor("robot", frozenset({MAINTAINER_ROLE}), scopes=frozenset({"upload"}))):
        with pytest.raises(Forbidden):
            accounts.disable_account(house, actor, "alice")
        with pytest.raises(Forbidden):
            accounts.set_password(house, actor, "alice", "mine")
    for change in (accounts.disable_account, lambda *args: accounts.set_password(*args, "password")):
        with pytest.raises(NotFound):
            change(house, MAINTAINER, "nobody")
    assert accounts.verify_password(house, "alice", "wonderland") == alice


def test_a_role_that_does_not_exist_is_refused(house: House) -> None:
    with pytest.raises(BadRequest, match="Unknown roles: root"):
        accounts.create_account(house, "alice", "wonderland", ["root"])
