"""Review: a person approves what processing made, and it becomes public with the commit."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from readvault.domain.identifiers import AccessionVersion

if TYPE_CHECKING:
    from readvault.domain.actor import Actor
    from readvault.services.house import House


class Scope(StrEnum):
    """Whether entries with warnings are approved too. Entries with errors never are."""

    ALL = "ALL"
    WITHOUT_WARNINGS = "WITHOUT_WARNINGS"


def approve(
    house: House,
    actor: Actor,
    organism: str,
    *,
    scope: Scope,
    accession_versions: Sequence[tuple[AccessionVersion, str | None]] | None = None,
    group_ids: Sequence[int] | None = None,
    submitters: Sequence[str] | None = None,
) -> list[AccessionVersion]:
    """Approve processed versions for release; those that were approved. All of them or none.

    With `accession_versions` (each with the manifest digest that the person saw, or None) every one must be
    approvable: Unprocessable else, Conflict for another digest, Forbidden for a foreign one. Without, everything
    of the actor's groups that is approvable is approved and the rest is skipped.
    """
    raise NotImplementedError
