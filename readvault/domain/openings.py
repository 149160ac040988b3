"""Opening originals to the public: who may take which step when, and the names that the files get."""

from __future__ import annotations

from enum import StrEnum

from readvault.domain.errors import Conflict

CONFIRM_WITHIN = 7 * 86_400.0
"""Seconds after which an unconfirmed request is void."""
_COMPRESSIONS = (".gz", ".bz2", ".zst", ".xz")


class Step(StrEnum):
    """One step; each is a row."""

    REQUEST = "request"
    CONFIRM = "confirm"
    """By another maintainer than the one who asked."""
    CLOSE = "close"


class State(StrEnum):
    """How it stands with the originals of an accession version."""

    CLOSED = "closed"
    """Never opened, or closed again."""
    REQUESTED = "requested"
    OPEN = "open"


def state_after(step: str, at: float, now: float) -> State:
    """The state after the newest step, which was done at the moment `at`; seconds since 1970."""
    if step == Step.CONFIRM:
        return State.OPEN
    if step == Step.REQUEST and now <= at + CONFIRM_WITHIN:
        return State.REQUESTED
    return State.CLOSED


ALLOWED: dict[Step, frozenset[State]] = {
    Step.REQUEST: frozenset({State.CLOSED}),
    Step.CONFIRM: frozenset({State.REQUESTED}),
    Step.CLOSE: frozenset({State.REQUESTED, State.OPEN}),
}


def check(state: State, step: Step, subject: str) -> None:
    """Raise Conflict for a step that the state doesn't allow."""
    if state not in ALLOWED[step]:
        raise Conflict(f"The originals of {subject} are {state}: that can't be changed by '{step}'.")


def public_name(number: int, label: str) -> str:
    """The name under which everybody gets the original of this number (from 1): nothing of the submitter's is in it.

    Only how the file is compressed is taken from its label.
    """
    ending = next((each for each in _COMPRESSIONS if label.lower().endswith(each)), "")
    return f"original_{number}.fastq{ending}"
