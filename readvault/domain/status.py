"""Where an accession version is on its way: Loculus's two axes, and the table of allowed steps."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from readvault.domain.errors import Conflict


class Status(StrEnum):
    """The stage of an accession version; derived from what the database holds, never stored."""

    RECEIVED = "RECEIVED"
    IN_PROCESSING = "IN_PROCESSING"
    PROCESSED = "PROCESSED"
    APPROVED_FOR_RELEASE = "APPROVED_FOR_RELEASE"


class ProcessingResult(StrEnum):
    """What processing found."""

    NO_ISSUES = "NO_ISSUES"
    HAS_WARNINGS = "HAS_WARNINGS"
    HAS_ERRORS = "HAS_ERRORS"

    @classmethod
    def of(cls, *, errors: bool, warnings: bool) -> ProcessingResult:
        if errors:
            return cls.HAS_ERRORS
        return cls.HAS_WARNINGS if warnings else cls.NO_ISSUES


class Event(StrEnum):
    """What can happen to an accession version."""

    PROCESSING_STARTED = "processing started"
    PROCESSING_HANDED_BACK = "processing handed back"
    PROCESSING_FINISHED = "processing finished"
    EDITED = "edited"
    APPROVED = "approved"


TRANSITIONS: dict[Event, tuple[Status, Status]] = {
    Event.PROCESSING_STARTED: (Status.RECEIVED, Status.IN_PROCESSING),
    Event.PROCESSING_HANDED_BACK: (Status.IN_PROCESSING, Status.RECEIVED),
    Event.PROCESSING_FINISHED: (Status.IN_PROCESSING, Status.PROCESSED),
    Event.EDITED: (Status.PROCESSED, Status.RECEIVED),
    Event.APPROVED: (Status.PROCESSED, Status.APPROVED_FOR_RELEASE),
}


def after(status: Status, event: Event) -> Status:
    """The status after `event`; raises Conflict when that can't happen now."""
    start, end = TRANSITIONS[event]
    if status is not start:
        raise Conflict(f"{event.value} needs status {start}, but it is {status}.")
    return end


class JobState(StrEnum):
    """The state of a job. `running` is only as true as its lease."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    NEEDS_ATTENTION = "needs attention"


class JobKind(StrEnum):
    """What a job does; each is one flow."""

    PROCESS_SUBMISSION = "process-submission"
    RELEASE = "release"
    EXTERNAL_PROCESSING = "external-processing"
    """No flow: an external pipeline asks for it and sends the result."""
    REGISTER_EXTERNAL = "register-external"
    REPAIR = "repair"
    """Makes lost processed files again, from the sealed originals."""
    SCREEN = "screen"
    """Looks for human reads in released files with a newer host index."""
    IMPORT = "import-files"
    """Copies files from a submitter's own S3 into ours: about no entry, but about a pull."""


class Priority(IntEnum):
    """Which jobs go first: the smaller number."""

    SUBMISSION = 0
    """Somebody waits for it."""
    BACKGROUND = 10
    """Reprocessing: when nobody waits."""


class Visibility(StrEnum):
    """What a maintainer made of a released accession version."""

    PUBLIC = "PUBLIC"
    SUPPRESSED = "SUPPRESSED"
    """Found by nobody who searches, readable by who has the accession."""
    WITHDRAWN = "WITHDRAWN"
    """Gone (410), with the reason in its place."""
