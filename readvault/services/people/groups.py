"""Groups of submitters. All data belong to exactly one; membership is full rights."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from readvault.db import audit, clock, drop_ends, pull_ends, records
from readvault.db.tables import Group, GroupMember, ReleasedCount, UserAccount
from readvault.domain.actor import Actor
from readvault.domain.errors import Conflict, NotFound
from readvault.domain.group import Address, GroupDetails, GroupView
from readvault.services.authorization import Action, authorize, own_groups
from readvault.services.entries import released_state
from readvault.services.house import House
from readvault.services.idempotency import NOT_ONCE, Once, earlier, remember


def create_group(
    house: House, actor: Actor | None, details: GroupDetails, *, members: Sequence[str] = (), once: Once = NOT_ONCE
) -> GroupView:
    """Make a group; its creator becomes its first member, or `members` do in the creator's place.

    Sent again (`once`), the request gets the group that it made, as it is now.
    """
    with house.sessions.begin() as session:
        authorize(session, actor, Action.CREATE_GROUP)
        assert actor is not None
        if (known := earlier(session, actor, once)) is not None:
            return _view(_existing(session, known["groupId"]), contact=True)
        group = Group(
            name=details.group_name,
            institution=details.institution,
            address=details.address.model_dump(by_alias=True),
            contact_email=details.contact_email,
            created_at=clock.read(session),
        )
        session.add(group)
        session.flush()
        assert group.id is not None
        first = sorted(set(members)) or [actor.name]
        for name in members:
            _refuse_unknown_user(house, session, name)
        session.add_all(GroupMember(group_id=group.id, user_name=name) for name in first)
        remember(session, actor, once, {"groupId": group.id})
        records.group_changed(session, group.id)
        audit.append(session, actor.name, "create group", f"group {group.id}", {"members": first})
        return _view(group, contact=True)


def edit_group(house: House, actor: Actor | None, group_id: int, details: GroupDetails) -> GroupView:
    """Replace what is said about a group."""
    with house.sessions.begin() as session:
        authorize(session, actor, Action.EDIT_GROUP, group_id=group_id)
        assert actor is not None
        group = _existing(session, group_id)
        if group.name != details.group_name:  # it stands in everything that the group has released
            of_group = select(ReleasedCount.organism).where(ReleasedCount.group_id == group_id)
            for organism in session.exec(of_group.order_by(ReleasedCount.organism)).all():
                released_state.changed(session, organism, clock.read(session))
        group.name = details.group_name
        group.institution = details.institution
        group.address = details.address.model_dump(by_alias=True)
        group.contact_email = details.contact_email
        session.flush()
        records.group_changed(session, group_id)
        audit.append(session, actor.name, "edit group", f"group {group_id}")
        return _view(group, contact=True)


def get_group(house: House, actor: Actor | None, group_id: int) -> tuple[GroupView, list[str] | None]:
    """A group and the names of its members; anonymous gets neither contact nor members (None).

    Raises NotFound.
    """
    with house.sessions.read() as session:
        authorize(session, actor, Action.READ_GROUP)
        group = _existing(session, group_id)
        if actor is None:
            return _view(group, contact=False), None
        authorize(session, actor, Action.READ_GROUP_CONTACT)
        members = select(GroupMember.user_name).where(GroupMember.group_id == group_id).order_by(GroupMember.user_name)
        return _view(group, contact=True), list(session.exec(members).all())


def list_groups(house: House, actor: Actor | None, *, name: str | None = None) -> list[GroupView]:
    """All groups, or those of exactly that name, by ID. Needs a login."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.READ_GROUP_CONTACT)
        query = select(Group).order_by(col(Group.id))
        if name is not None:
            query = query.where(Group.name == name)
        return [_view(group, contact=True) for group in session.exec(query).all()]


def groups_of(house: House, actor: Actor | None) -> list[GroupView]:
    """The actor's own groups, by ID; a maintainer gets all."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.READ_GROUP_CONTACT)
        assert actor is not None
        query = select(Group).order_by(col(Group.id))
        if not actor.is_maintainer:
            query = query.where(col(Group.id).in_(own_groups(actor)))
        return [_view(group, contact=True) for group in session.exec(query).all()]


def add_member(house: House, actor: Actor | None, group_id: int, user_name: str) -> None:
    """Make a user a member; raises NotFound for an unknown user, Conflict for a member."""
    try:
        with house.sessions.begin() as session:
            authorize(session, actor, Action.EDIT_GROUP, group_id=group_id)
            assert actor is not None
            _refuse_unknown_user(house, session, user_name)
            session.add(GroupMember(group_id=group_id, user_name=user_name))
            session.flush()
            records.group_changed(session, group_id)
            audit.append(session, actor.name, "add member", f"group {group_id}", {"user": user_name})
    except IntegrityError:
        raise Conflict(f"User {user_name} is already member of the group {group_id}.") from None


def remove_member(house: House, actor: Actor | None, group_id: int, user_name: str) -> None:
    """End a membership, with effect from the next request; who is no member stays none, without an error.

    A group may lose its last member: its data stay, and a maintainer can add somebody again.
    """
    with house.sessions.begin() as session:
        authorize(session, actor, Action.EDIT_GROUP, group_id=group_id)
        assert actor is not None
        member = col(GroupMember.group_id) == group_id, col(GroupMember.user_name) == user_name
        result = session.execute(delete(GroupMember).where(*member))
        assert isinstance(result, CursorResult)
        if result.rowcount:
            records.group_changed(session, group_id)
            links = drop_ends.end_links_of(session, user_name, group_id)
            pulls = pull_ends.end_pulls_of(session, user_name, group_id)
            audit.append(session, actor.name, "remove member", f"group {group_id}", {"user": user_name})
            drop_ends.write_down(session, actor.name, links)
            pull_ends.write_down(session, actor.name, pulls)


def _refuse_unknown_user(house: House, session: Session, name: str) -> None:
    # Only the built-in issuer's users are known to us; an outside issuer's are not.
    if house.settings.identity.embedded and session.get(UserAccount, name) is None:
        raise NotFound(f"User {name} does not exist.")


def _existing(session: Session, group_id: int) -> Group:
    group = session.get(Group, group_id)
    if group is None:
        raise NotFound(f"Group {group_id} does not exist.")
    return group


def _view(group: Group, *, contact: bool) -> GroupView:
    assert group.id is not None
    return GroupView(
        group_id=group.id,
        group_name=group.name,
        institution=group.institution,
        address=Address.model_validate(group.address),
        contact_email=group.contact_email if contact else None,
    )
