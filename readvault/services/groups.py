"""Groups of submitters. All data belong to exactly one; membership is full rights."""

from __future__ import annotations

from readvault.domain.actor import Actor
from readvault.domain.group import GroupDetails, GroupView
from readvault.services.house import House


def create_group(house: House, actor: Actor | None, details: GroupDetails) -> GroupView:
    """Make a group; its creator becomes its first member."""
    raise NotImplementedError


def edit_group(house: House, actor: Actor | None, group_id: int, details: GroupDetails) -> GroupView:
    """Replace what is said about a group."""
    raise NotImplementedError


def get_group(house: House, actor: Actor | None, group_id: int) -> tuple[GroupView, list[str] | None]:
    """A group and the names of its members; anonymous gets neither contact nor members (None).

    Raises NotFound.
    """
    raise NotImplementedError


def list_groups(house: House, actor: Actor | None, *, name: str | None = None) -> list[GroupView]:
    """All groups, or those of exactly that name, by ID. Needs a login."""
    raise NotImplementedError


def groups_of(house: House, actor: Actor | None) -> list[GroupView]:
    """The actor's own groups, by ID; a maintainer gets all."""
    raise NotImplementedError


def add_member(house: House, actor: Actor | None, group_id: int, user_name: str) -> None:
    """Make a user a member; raises NotFound for an unknown user, Conflict for a member."""
    raise NotImplementedError


def remove_member(house: House, actor: Actor | None, group_id: int, user_name: str) -> None:
    """End a membership; raises NotFound when there is none."""
    raise NotImplementedError
