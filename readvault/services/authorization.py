"""Who may do what: the one place that decides. What no rule allows is forbidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import batched
from types import MappingProxyType

from sqlalchemy import Select
from sqlalchemy import select as select_columns
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
    PULL = "pull files from one's own S3"
    LOOK_UP_PULL = "look up a pull by its ID"
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
    CONFIRM_ERASURE = "confirm an erasure"
    CONFIRM_REPROCESSING = "confirm a reprocessing"
    CONFIRM_OPENING = "confirm the opening of originals"
    DECIDE_WHAT_IS_PUBLIC = "decide what everybody gets"
    READ_FIGURES = "read the instance's figures"
    MANAGE_DROP_LINKS = "make and revoke drop links"
    READ_DROPPED = "see and discard files that came through drop links"
    DELIVER = "deliver files through a drop link"


@dataclass(frozen=True, slots=True)
class Rule:
    """Who an action is open to. `members` means members of the group (or all groups) it is about."""

    anyone: bool = False
    users: bool = False
    members: bool = False
    pipelines: bool = False
    external_updaters: bool = False
    maintainers: bool = True
    tokens: bool = False
    """A machine token that is made for the action is enough, whatever its user may do: such tokens only
    maintainers make (`MAINTAINERS_SCOPES`). With an outside issuer we know nobody's roles behind a token."""


RULES: Mapping[Action, Rule] = MappingProxyType(
    {
        Action.CREATE_GROUP: Rule(users=True),
        Action.READ_GROUP: Rule(anyone=True),
        Action.READ_GROUP_CONTACT: Rule(users=True),
        Action.EDIT_GROUP: Rule(members=True),
        Action.UPLOAD: Rule(members=True, pipelines=True),
        # File IDs are secret: who may not upload for a file's group gets the same answer as for no file.
        Action.LOOK_UP_FILE: Rule(users=True),
        Action.PULL: Rule(members=True),
        Action.LOOK_UP_PULL: Rule(users=True),  # as secret as a file's ID
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
        Action.CONFIRM_ERASURE: Rule(),
        Action.CONFIRM_REPROCESSING: Rule(),
        Action.CONFIRM_OPENING: Rule(),
        # In person: which result stands, and what is shown again. To hide something, MAINTAIN is enough.
        Action.DECIDE_WHAT_IS_PUBLIC: Rule(),
        Action.READ_FIGURES: Rule(tokens=True),
        Action.MANAGE_DROP_LINKS: Rule(members=True),
        Action.READ_DROPPED: Rule(members=True),
        # Of a link's holder alone, who is nobody's account: no role and no machine token has it.
        Action.DELIVER: Rule(tokens=True, maintainers=False),
    }
)

SCOPES: Mapping[str, frozenset[Action]] = MappingProxyType(
    {
        "upload": frozenset({Action.UPLOAD, Action.LOOK_UP_FILE, Action.READ_LIMITS, Action.PULL, Action.LOOK_UP_PULL}),
        "submit": frozenset(
            {
                Action.UPLOAD,
                Action.LOOK_UP_FILE,
                Action.PULL,
                Action.LOOK_UP_PULL,
                Action.READ_LIMITS,
                Action.SUBMIT,
                Action.REVIEW,
                Action.READ_DROPPED,
            }
        ),
        "review": frozenset({Action.REVIEW, Action.READ_ORIGINALS, Action.LOOK_UP_FILE, Action.READ_LIMITS}),
        "approve": frozenset({Action.REVIEW, Action.APPROVE}),
        "delete": frozenset({Action.REVIEW, Action.DELETE}),
        "terms": frozenset({Action.CHANGE_TERMS}),
        "groups": frozenset({Action.CREATE_GROUP, Action.EDIT_GROUP}),
        "pipeline": frozenset({Action.PREPROCESS, Action.UPLOAD, Action.LOOK_UP_FILE}),
        "external-metadata": frozenset({Action.UPDATE_EXTERNAL_METADATA}),
        "maintain": frozenset({Action.MAINTAIN, Action.READ_LIMITS}),
        "metrics": frozenset({Action.READ_FIGURES}),
    }
)
"""What a machine token may be for. Its user must have the right too. Neither a token's making nor a break-glass
nor the second yes to an erasure or to opened originals nor the making of a drop link is in any of them, nor
what gives everybody more or something else than before: they need the person."""
DROP_LINK = "drop link"
"""The scope that a link's holder has; no machine token can be made for it."""
_OF_LINKS = frozenset({Action.DELIVER})
MAINTAINERS_SCOPES = frozenset({"metrics"})
"""Scopes of tokens that only maintainers make."""
_ALWAYS_IN_SCOPE = frozenset({Action.READ_GROUP, Action.READ_GROUP_CONTACT, Action.READ_RELEASED})
_ABOUT_NO_GROUP = frozenset({Action.LOOK_UP_FILE, Action.LOOK_UP_PULL, Action.READ_GROUP_CONTACT})
"""Actions that a token for one group may do though they name none: what follows them does."""
_AT_ONCE = 1000
"""Groups of one query: requests may name more than a database takes."""


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
    exist (whoever asks), Forbidden (403) for everybody else, in Loculus's words, and for a machine
    token that is not meant for the action or the group.
    """
    rule = RULES.get(action, Rule(maintainers=False))
    if rule.anyone:
        return
    if actor is None:
        raise Unauthenticated("Authentication needed.")
    groups = sorted({*group_ids, *(() if group_id is None else (group_id,))})
    _refuse_out_of_scope(actor, action, groups)
    if rule.members:
        _all_exist(session, groups)
    by_role = (
        (rule.maintainers and actor.is_maintainer)
        or (rule.pipelines and actor.is_pipeline)
        or (rule.external_updaters and actor.is_external_updater)
        or (rule.tokens and actor.scopes is not None)
    )
    if rule.users or by_role:
        return
    if rule.members and groups:
        own: set[int] = set()
        for some in batched(groups, _AT_ONCE):
            own |= set(session.execute(own_groups(actor).where(col(GroupMember.group_id).in_(some))).scalars())
        foreign = sorted(set(groups) - own)
        if not foreign:
            return
        raise Forbidden(f"User {actor.name} is not a member of group(s) {_listed(foreign)}. Action not allowed.")
    raise Forbidden(f"User {actor.name} may not {action}.")


def is_member(session: Session, actor: Actor | None, group_id: int) -> bool:
    """Whether the actor is a member of the group right now, and its token is not for another one."""
    if actor is None:
        return False
    return session.execute(own_groups(actor).where(col(GroupMember.group_id) == group_id)).first() is not None


def own_groups(actor: Actor) -> Select[tuple[int]]:
    """The IDs of the groups that the actor is a member of, as a query: for `.in_(...)`.

    A token for one group has at most that one.
    """
    own = select_columns(col(GroupMember.group_id)).where(col(GroupMember.user_name) == actor.name)
    return own if actor.only_group is None else own.where(col(GroupMember.group_id) == actor.only_group)


def acts_for(actor: Actor, action: Action) -> Select[tuple[int]] | None:
    """The groups for which the actor may do `action`, as a query for `.in_(...)`; None: all groups (maintainers).

    For use cases that name no group. Raises Forbidden for a machine token that is not meant for the action.
    """
    _refuse_out_of_scope(actor, action, () if actor.only_group is None else (actor.only_group,))
    return None if actor.is_maintainer else own_groups(actor)


def _refuse_out_of_scope(actor: Actor, action: Action, groups: Sequence[int]) -> None:
    """Refuse what a machine token is not meant for, whatever its user may do."""
    if actor.scopes is not None and action not in _ALWAYS_IN_SCOPE:
        allowed = frozenset[Action]().union(*map(_actions_of, actor.scopes))
        if action not in allowed:
            raise Forbidden(f"This token is not meant to {action}.")
    if actor.only_group is None or action in _ABOUT_NO_GROUP:
        return
    if not groups or set(groups) != {actor.only_group}:
        raise Forbidden(f"This token is for group {actor.only_group} alone. Action not allowed.")


def _actions_of(scope: str) -> frozenset[Action]:
    return _OF_LINKS if scope == DROP_LINK else SCOPES.get(scope, frozenset())


def _all_exist(session: Session, groups: Sequence[int]) -> None:
    known: set[int | None] = set()
    for some in batched(groups, _AT_ONCE):
        known |= set(session.exec(select(Group.id).where(col(Group.id).in_(some))))
    if missing := [group for group in groups if group not in known]:
        raise NotFound(f"Group(s) {_listed(missing)} do(es) not exist.")


def _listed(groups: Sequence[int]) -> str:
    return ", ".join(map(str, groups))
