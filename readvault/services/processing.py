"""Jobs: claim one, do it, write its result exactly once.

Every write of a worker is fenced: it happens only while the job is running under the attempt that
the worker claimed. Whoever lost that gets LeaseLost, stops, and has written nothing.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from readvault.domain.annotations import Annotation
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind
from readvault.ports import StoredVersion

if TYPE_CHECKING:
    from readvault.domain.actor import Actor
    from readvault.services.house import House


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do a job, as long as its lease is renewed. `attempt` is the fence of all writes.

    `runs_alone`: the last worker that held the job died, so run it with nothing beside it.
    """

    job_id: str
    attempt: int
    kind: JobKind
    organism: str
    accession_version: AccessionVersion
    pipeline_version: int
    worker: str
    group_id: int
    runs_alone: bool = False


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A submitted file that can't change any more. `label` is the submitter's own name for it.

    `sha256` is what an earlier fetch computed, or None; `declared_sha256` is the submitter's word.
    """

    file_id: str
    category: str
    label: str
    stored: StoredVersion
    declared_sha256: str | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was submitted: files in the submitter's order, metadata, sequences by FASTA ID."""

    files: tuple[SealedFile, ...]
    metadata: dict[str, str]
    sequences: dict[str, str]
    submission_id: str
    submitter: str


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A processed file that lies in the vault. `size` counts bytes, `sha256` is hexadecimal."""

    category: str
    name: str
    size: int
    sha256: str
    stored: StoredVersion


@dataclass(frozen=True, slots=True)
class ProcessedVersion:
    """What processing made of an accession version. `manifest` is `domain.manifest.build(...)`.

    `processed_data` is Loculus's ProcessedData without `files`.
    """

    manifest: dict[str, Any]
    errors: tuple[Annotation, ...]
    warnings: tuple[Annotation, ...]
    processed_data: dict[str, Any]
    files: tuple[StagedFile, ...] = ()


def claim(house: House, job_id: str, worker: str, ready: Container[str]) -> Claim | None:
    """Take a job, or None when there is nothing to do: it is done, leased, not due or needs attention.

    Jobs that process submissions are taken only of organisms in `ready`. Of racing claimers exactly one wins.
    """
    raise NotImplementedError


def inputs_of(house: House, claim: Claim) -> Inputs:
    """What was submitted for the claimed job. Raises ProcessingFailure for a file that isn't sealed."""
    raise NotImplementedError


def record_hashes(house: House, claim: Claim, hashes: Mapping[str, str]) -> None:
    """Keep the SHA-256 (hexadecimal, by file ID) that our own fetch computed; they never change afterwards.

    Raises LeaseLost, and ProcessingFailure when a file had another SHA-256 before.
    """
    raise NotImplementedError


def stored(house: House, claim: Claim, sha256: str) -> StoredVersion | None:
    """Where the group's vault has these bytes already, or None."""
    raise NotImplementedError


def register(house: House, claim: Claim, version: ProcessedVersion) -> str:
    """Make the result the entry's current one and end the job, in one transaction; the manifest's digest.

    Registering the same result again (its answer was lost) is a success without effect.
    An unreleased result of the same pipeline version is superseded, a released one never:
    then the job needs attention and LeaseLost is raised.
    """
    raise NotImplementedError


def complete(house: House, claim: Claim) -> None:
    """End a job that has no result of its own. Raises LeaseLost; ending it twice is a success."""
    raise NotImplementedError


def give_up(house: House, claim: Claim, cause: str, *, counted: bool) -> None:
    """Put the job back. `cause` is read by maintainers: no file name, no URL, no read.

    Counted (our failure, or the death of the job's own child): it is tried again after
    `worker.retry_after` and needs attention after `worker.max_attempts`. Uncounted (this worker
    drains): it is due at once, up to `worker.max_handbacks` times. Raises LeaseLost.
    """
    raise NotImplementedError


def retry(house: House, actor: Actor, job_id: str) -> None:
    """Queue a job that needs attention once more, with fresh counts. For maintainers.

    Raises NotFound, and Conflict when the job doesn't need attention.
    """
    raise NotImplementedError
