"""Who may do what: the one place that decides. What no rule allows is forbidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from sqlmodel import Session, col, select

from readvault.db.tables import Group, GroupMember
from readvault.domain.actor import Actor
from readvault.domain.errors import Forbidden, NotFound, Unauthenticated


class Action(StrEnum):
    """Everything that somebody can ask for."""

    CREATE_GROUP = "create a group"
    READ_GROUP = "read a group"
    READ_GROUP_CONTACT = "read a group's members and contact"
    EDIT_GROUP = "edit a group"
    UPLOAD = "upload files"
    LOOK_UP_FILE = "look up a file by its ID"
    SUBMIT = "submit entries"
    REVIEW = "see unreleased entries and their processed files"
    READ_ORIGINALS = "read original files"
    APPROVE = "approve entries"
    DELETE = "delete unreleased entries"
    CHANGE_TERMS = "change data use terms"
    READ_RELEASED = "read released data"
    READ_LIMITS = "read how much a group may upload"
    PREPROCESS = "fetch unprocessed and submit processed data"
    UPDATE_EXTERNAL_METADATA = "submit external metadata"
    MANAGE_TOKENS = "make and revoke tokens of one's own"
    BREAK_GLASS = "read another group's original files for a reason"
    MAINTAIN = "maintain the instance"


@dataclass(frozen=True, slots=True)
class Rule:
    """Who an action is open to. `members` means members of the group (or all groups) it is about."""

    anyone: bool = False
    users: bool = False
    members: bool = False
    pipelines: bool = False
    external_updaters: bool = False
    maintainers: bool = True


RULES: Mapping[Action, Rule] = MappingProxyType(
    {
        Action.CREATE_GROUP: Rule(users=True),
        Action.READ_GROUP: Rule(anyone=True),
        Action.READ_GROUP_CONTACT: Rule(users=True),
        Action.EDIT_GROUP: Rule(members=True),
        Action.UPLOAD: Rule(members=True, pipelines=True),
        # File IDs are secret: who may not upload for a file's group gets the same answer as for no file.
        Action.LOOK_UP_FILE: Rule(users=True),
        Action.SUBMIT: Rule(members=True),
        Action.REVIEW: Rule(members=True),
        # A maintainer reads originals by a logged break-glass with a reason, which is another action.
        Action.READ_ORIGINALS: Rule(members=True, maintainers=False),
        Action.APPROVE: Rule(members=True),
        Action.DELETE: Rule(members=True),
        Action.CHANGE_TERMS: Rule(members=True),
        Action.READ_RELEASED: Rule(anyone=True),
        Action.READ_LIMITS: Rule(members=True),
        Action.PREPROCESS: Rule(pipelines=True),
        Action.UPDATE_EXTERNAL_METADATA: Rule(external_updaters=True),
        Action.MANAGE_TOKENS: Rule(users=True),
        Action.BREAK_GLASS: Rule(),
        Action.MAINTAIN: Rule(),
    }
)


def authorize(
    session: Session,
    actor: Actor | None,
    action: Action,
    *,
    group_id: int | None = None,
    group_ids: Sequence[int] = (),
) -> None:
    """Let `actor` do `action`, or raise.

    For an action about groups give `group_id` or `group_ids`; membership is read from the database
    each time. Raises Unauthenticated (401) for anonymous, NotFound (404) for a group that doesn't
    exist (whoever asks), Forbidden (403) for everybody else, in Loculus's words.
    """
    rule = RULES.get(action, Rule(maintainers=False))
    if rule.anyone:
        return
    if actor is None:
        raise Unauthenticated("Authentication needed.")
    groups = sorted({*group_ids, *(() if group_id is None else (group_id,))})
    if rule.members:
        _all_exist(session, groups)
    by_role = (
        (rule.maintainers and actor.is_maintainer)
        or (rule.pipelines and actor.is_pipeline)
        or (rule.external_updaters and actor.is_external_updater)
    )
    if rule.users or by_role:
        return
    if rule.members and groups:
        foreign = sorted(set(groups) - groups_with_member(session, actor.name, groups))
        if not foreign:
            return
        raise Forbidden(f"User {actor.name} is not a member of group(s) {_listed(foreign)}. Action not allowed.")
    raise Forbidden(f"User {actor.name} may not {action}.")


def is_member(session: Session, actor: Actor | None, group_id: int) -> bool:
    """Whether the actor is a member of the group right now."""
    return actor is not None and bool(groups_with_member(session, actor.name, [group_id]))


def groups_with_member(session: Session, name: str, groups: Sequence[int]) -> set[int]:
    """Which of these groups the user is a member of."""
    query = select(GroupMember.group_id).where(GroupMember.user_name == name, col(GroupMember.group_id).in_(groups))
    return set(session.exec(query).all())


def _all_exist(session: Session, groups: Sequence[int]) -> None:
    known = set(session.exec(select(Group.id).where(col(Group.id).in_(groups))).all())
    if missing := [group for group in groups if group not in known]:
        raise NotFound(f"Group(s) {_listed(missing)} do(es) not exist.")


def _listed(groups: Sequence[int]) -> str:
    return ", ".join(map(str, groups))
