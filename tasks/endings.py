"""How a flow run ends, in words that people with Prefect's password may read.

docs/maintainers.md tells what each state means; the automations of `readvault admin prefect-setup` wait
for some of them by their names.
"""

from __future__ import annotations

import logging
from typing import Any

from prefect import runtime
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from readvault.bootstrap import worker_house
from readvault.domain.errors import LeaseLost, NurseryDied, ReadvaultError, RunCancelled, WorkerStops
from readvault.domain.reports import RegisterReport, Report
from readvault.domain.status import ProcessingResult

logger = logging.getLogger(__name__)

_NAMES = {
    ProcessingResult.NO_ISSUES: "Completed",
    ProcessingResult.HAS_WARNINGS: "HasWarnings",
    ProcessingResult.HAS_ERRORS: "HasErrors",
}


def nothing_to_do() -> State[Any]:
    """The job is done, in other hands, not due, or waits in another queue."""
    return Completed(name="NothingToDo", message="The job is done, in other hands, not due, or in another queue.")


def requested(what: str, where: str) -> State[Any]:
    """What changes something public waits for a named maintainer: Prefect knows one password and no person."""
    return Completed(name="Requested", message=f"{what} waits for a maintainer's confirmation: {where}")


def registered(report: Report) -> State[Any]:
    """The version waits for its review; a submission with errors is a completed run."""
    assert isinstance(report, RegisterReport)
    name = _NAMES[ProcessingResult(report.processing_result)]
    return Completed(name=name, message=f"{report.accession_version} is processed: {report.processing_result}")


def verified(done: Any) -> State[Any]:
    """How a verification ended: `Damage` is a failed state with a name of its own, for alarms to wait for."""
    told = (
        f"read {done.checked}, damaged {done.damaged}, repaired {done.repaired}, uncovered {done.uncovered},"
        f" copies read {done.copies_checked}, copies made {done.copied}"
    )
    if done.references_lost or done.unreachable:
        told += f", referenced files lost {done.references_lost} and out of reach {done.unreachable}"
    left = done.damaged - done.repaired
    if left > 0 or done.held_by_locks:
        return Failed(name="Damage", message=f"{left} damaged objects are not restored yet; {told}")
    if done.damaged or done.uncovered:
        return Completed(name="Repaired", message=told)
    return Completed(message=told if done.finished else f"{told}; the time was up, the next run goes on")


def failed(fault: Exception, job_id: str = "") -> State[Any]:
    """Our failure, or work that goes on in other hands; of a stranger's error only its type is told.

    When it was the last attempt of the job `job_id`, the state is `NeedsAttention`: nobody tries again. An earlier
    run that notices only now that it had lost the job is none: each job is one alarm.
    """
    name, text = type(fault).__name__, str(fault) if isinstance(fault, ReadvaultError) else ""
    told = f"{name}: {text}" if text else name
    if isinstance(fault, RunCancelled):
        return Cancelled(message=text)
    if job_id and _nobody_tries_again(job_id, lost=isinstance(fault, LeaseLost)):
        return Failed(name="NeedsAttention", message=told)
    if isinstance(fault, LeaseLost | NurseryDied | WorkerStops):
        return Cancelled(name="HandedBack", message=text or name)
    return Failed(message=told)


def _nobody_tries_again(job_id: str, *, lost: bool) -> bool:
    """Whether the job waits for a maintainer now. A database that can't say so leaves the plain state.

    `lost`: somebody took the job from this run; then only if it wasn't given to another run since.
    """
    try:
        return worker_house().needs_attention(job_id, last_run=str(runtime.flow_run.id) if lost else None)
    except Exception as fault:
        logger.warning("a job can't be looked up: %s", type(fault).__name__)
        return False
