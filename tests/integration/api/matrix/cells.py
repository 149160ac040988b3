"""Rows of the access matrix: who asks what, and what the answer must be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.integration.api.matrix.scene import Scene

CALLERS = (
    "anonymous",
    "other_group",
    "same_group",
    "removed_member",
    "pipeline",
    "external_updater",
    "maintainer",
    "small_token",
)
Expected = Mapping[str, int]


@dataclass(frozen=True)
class Call:
    """One request: the values of its path's parameters that differ from the scene's, and what httpx takes."""

    path: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] | None = None
    json: Any = None
    data: Mapping[str, Any] | None = None
    files: Mapping[str, Any] | None = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def _plain(_scene: Scene) -> Call:
    return Call()


def _nothing(_scene: Scene) -> None:
    pass


@dataclass(frozen=True)
class Row:
    """A request and the status code that each kind of caller gets."""

    method: str
    path: str
    """As the route has it: `/{organism}/submit`."""
    expected: Expected
    make: Callable[[Scene], Call] = _plain
    note: str = ""
    shows: Collection[str] = ()
    """Callers beyond group A and maintainers that may see what is group A's."""
    opens_originals: Collection[str] = ()
    """Callers beyond group A that may get links to originals."""
    prepare: Callable[[Scene], None] = _nothing

    def __str__(self) -> str:
        return f"{self.method} {self.path}{f' ({self.note})' if self.note else ''}"


def anybody(status: int, **others: int) -> Expected:
    """The same for all."""
    return _checked(dict.fromkeys(CALLERS, status) | others)


def users(status: int, **others: int) -> Expected:
    """Everybody with a login; a small token's scope covers nothing."""
    return _checked(dict.fromkeys(CALLERS, status) | {"anonymous": 401, "small_token": 403} | others)


def members(status: int, **others: int) -> Expected:
    """Members of group A and maintainers; others are told that they may not."""
    return _only(("same_group", "maintainer"), status, 403) | _checked(others)


def secret(status: int, **others: int) -> Expected:
    """Members of group A and maintainers; for others it doesn't exist."""
    return _only(("same_group", "maintainer"), status, 404) | {"small_token": 403} | _checked(others)


def role(name: str, status: int, **others: int) -> Expected:
    """One role and maintainers."""
    return _only((name, "maintainer"), status, 403) | _checked(others)


def _only(callers: Collection[str], status: int, refusal: int) -> dict[str, int]:
    codes = {caller: status if caller in callers else refusal for caller in CALLERS}
    return codes | {"anonymous": 401}


def _checked(codes: dict[str, int]) -> dict[str, int]:
    unknown = set(codes) - set(CALLERS)
    assert not unknown, f"no such callers: {unknown}"
    return codes
