"""What a maintainer can do to a released accession version, and when: the table of allowed steps."""

from __future__ import annotations

from enum import StrEnum

from readvault.domain.errors import BadRequest, Conflict
from readvault.domain.status import Visibility

SHORTEST_REASON, LONGEST_REASON = 5, 2000


class Step(StrEnum):
    """One intervention."""

    SUPPRESS = "suppress"
    WITHDRAW = "withdraw"
    RESTORE = "restore"


TABLE: dict[tuple[Visibility, Step], Visibility] = {
    (Visibility.PUBLIC, Step.SUPPRESS): Visibility.SUPPRESSED,
    (Visibility.PUBLIC, Step.WITHDRAW): Visibility.WITHDRAWN,
    (Visibility.SUPPRESSED, Step.WITHDRAW): Visibility.WITHDRAWN,
    (Visibility.SUPPRESSED, Step.RESTORE): Visibility.PUBLIC,
    (Visibility.WITHDRAWN, Step.RESTORE): Visibility.PUBLIC,
}
"""What is withdrawn comes back as a whole or not at all: it can't be suppressed instead."""


def after(state: Visibility, step: Step) -> Visibility:
    """The state after `step`; raises Conflict when that can't be done now."""
    try:
        return TABLE[state, step]
    except KeyError:
        raise Conflict(f"It is {state} and can't be changed by '{step}'.") from None


def checked_reason(reason: str) -> str:
    """The reason without white space around it; raises BadRequest for one that says nothing or a whole book."""
    told = reason.strip()
    if not SHORTEST_REASON <= len(told) <= LONGEST_REASON:
        raise BadRequest(f"A reason of {SHORTEST_REASON} to {LONGEST_REASON} characters is needed.")
    return told
