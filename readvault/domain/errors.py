"""Three families of errors: the submitter's, ours, a caller's.

Whatever is raised and belongs to none of them is treated as ours, so that no submitter is ever
blamed by accident.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from readvault.domain.annotations import Annotation


class ReadvaultError(Exception):
    """Anything that readvault raises on purpose."""


class InvalidSubmission(ReadvaultError):
    """The submitter's files or metadata are at fault: all annotations at once, never retried."""

    def __init__(self, annotations: Iterable[Annotation]) -> None:
        self.annotations: tuple[Annotation, ...] = tuple(annotations)
        super().__init__("; ".join(a.message for a in self.annotations))

    def __reduce__(self) -> tuple[type[InvalidSubmission], tuple[tuple[Annotation, ...]]]:
        return (type(self), (self.annotations,))


class ProcessingFailure(ReadvaultError):
    """Something of ours failed (S3, a tool, a time limit, the disk): retried, then needs attention.

    `cause` is shown to maintainers: it must name no file of the submitter, no URL and no read.
    """

    def __init__(self, step: str, cause: str) -> None:
        self.step = step
        self.cause = cause
        super().__init__(f"{step}: {cause}")

    def __reduce__(self) -> tuple[type[ProcessingFailure], tuple[str, str]]:
        return (type(self), (self.step, self.cause))


class ChildDied(ProcessingFailure):
    """The process that did a job's steps died: by a signal, by a limit, or because somebody cancelled it."""


class BytesLost(ProcessingFailure):
    """A stored version is gone, or has other bytes than were sealed: nothing that a retry could mend."""


class ReferenceAway(ProcessingFailure):
    """The store of a file that stays with its group can't be reached: its group's matter when that doesn't pass."""


class StoreUnavailable(ProcessingFailure):
    """S3 can't be reached, or breaks off whatever is asked: no job's fault, so it waits and none is counted."""


class ScratchFull(ProcessingFailure):
    """The scratch disk has no room, of bytes or of files: no job's fault, so it waits and none is counted."""


class NurseryDied(ReadvaultError):
    """The process beside the worker in which jobs are done died: no job's fault, so none is counted."""


class WorkerStops(ReadvaultError):
    """This worker was asked to end: no job's fault, so none is counted."""


class RunCancelled(ReadvaultError):
    """Somebody cancelled the run: its job waits until a maintainer wants it again."""


class LeaseLost(ReadvaultError):
    """Another attempt owns the job now: stop at once and write nothing."""


class NotReady(ReadvaultError):
    """The service can't keep a promise as it is configured, and says which and what to do."""


@dataclass(frozen=True, slots=True)
class LimitHit:
    """A limit that a request would exceed. `limit`, `used` and `requested` count what `name` tells.

    `frees_at` is when the request would fit (seconds since 1970) and `wait` how long that is from now;
    both are None when nobody can know.
    """

    name: str
    limit: int
    used: int
    requested: int
    frees_at: float | None = None
    wait: float | None = None


class RuleViolation(ReadvaultError):
    """A caller broke a rule. The API turns each kind into one status code and one JSON shape.

    `annotations` lists the faults one by one when there may be many (a metadata file's rows); `hit` is
    the limit that was exceeded.
    """

    def __init__(self, message: str, annotations: Iterable[Annotation] = (), *, hit: LimitHit | None = None) -> None:
        self.annotations: tuple[Annotation, ...] = tuple(annotations)
        self.hit = hit
        super().__init__(message)


class BadRequest(RuleViolation):
    """The request is malformed."""


class Unauthenticated(RuleViolation):
    """Nobody is logged in and the thing is not public."""


class Forbidden(RuleViolation):
    """The user may not do this, and it is no secret that the thing exists."""


class NotFound(RuleViolation):
    """There is no such thing, or it is a secret that there is."""


class Conflict(RuleViolation):
    """The thing has changed, or somebody else was first."""


class Gone(RuleViolation):
    """The thing was withdrawn, with a reason."""


class TooLarge(RuleViolation):
    """A file or a request exceeds a limit of size."""


class Unprocessable(RuleViolation):
    """The request is well formed, but its content breaks a rule."""


class TooMany(RuleViolation):
    """A quota or a rate is used up; the message says the limit, the use and when it frees."""


class Unavailable(RuleViolation):
    """We can't answer right now; nothing was lost, try again."""

    retry_after = 10
    """Seconds."""


class Damaged(Unavailable):
    """Stored bytes are lost or altered: until they are restored nobody gets them, and never wrong ones."""

    retry_after = 600
