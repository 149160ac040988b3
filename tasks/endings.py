"""How a flow run ends, in words that people with Prefect's password may read."""

from __future__ import annotations

import logging
from typing import Any

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from readvault.domain.errors import BadRequest, LeaseLost, NurseryDied, ReadvaultError, WorkerStops
from readvault.domain.reports import RegisterReport, Report
from readvault.domain.status import ProcessingResult

logger = logging.getLogger(__name__)

ACTOR = "prefect"
"""Who the audit log names for a run that was started in Prefect's UI: it knows one password, no person."""

_NAMES = {
    ProcessingResult.NO_ISSUES: "Completed",
    ProcessingResult.HAS_WARNINGS: "HasWarnings",
    ProcessingResult.HAS_ERRORS: "HasErrors",
}


def asked_for(accession_version: str | None, reason: str | None) -> tuple[str, str]:
    """What a maintainer asked for in the form; the run takes the accession version as its name.

    Raises BadRequest when one of the two is missing.
    """
    if not accession_version or not reason or not reason.strip():
        raise BadRequest("Give an accession version and a reason, or a job ID.")
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(runtime.flow_run.id, name=accession_version)
    except Exception as fault:  # a run without its name is still a run
        logger.warning("a run can't be named: %s", type(fault).__name__)
    return accession_version, reason.strip()


def nothing_to_do() -> State[Any]:
    """The job is done, in other hands, or not due."""
    return Completed(name="NothingToDo", message="The job is done, in other hands, or not due.")


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
    left = done.damaged - done.repaired
    if left > 0 or done.held_by_locks:
        return Failed(name="Damage", message=f"{left} damaged objects are not restored yet; {told}")
    if done.damaged or done.uncovered:
        return Completed(name="Repaired", message=told)
    return Completed(message=told if done.finished else f"{told}; the time was up, the next run goes on")


def failed(fault: Exception) -> State[Any]:
    """Our failure, or work that goes on in other hands; of a stranger's error only its type is told."""
    name, text = type(fault).__name__, str(fault) if isinstance(fault, ReadvaultError) else ""
    if isinstance(fault, LeaseLost | NurseryDied | WorkerStops):
        return Cancelled(name="HandedBack", message=text or name)
    return Failed(message=f"{name}: {text}" if text else name)
