"""Originals come in, a version that a person can review comes out."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from readvault import pipeline
from readvault.bootstrap import worker_house
from tasks import endings
from tasks.steps import StepTasks


@flow(name="process-submission", persist_result=False, validate_parameters=True)
def process_submission(
    job_id: str | None = None, accession_version: str | None = None, reason: str | None = None
) -> State[Any]:
    """Fetch the originals, validate, dehumanize, align, call the consensus, check, stage, register.

    To process an entry again, give its accession version and a reason; the backend gives a job ID.

    Args:
        job_id: The job to do. Leave it empty when you start a run by hand.
        accession_version: What to process again, for example LOC_000001Y.1.
        reason: Why; it is written into the audit log.
    """
    try:
        house = worker_house()
        if job_id is None:
            job_id = house.job_for(*endings.asked_for(accession_version, reason), actor=endings.ACTOR)
        with house.open_job(job_id) as job:
            if job is None:
                return endings.nothing_to_do()
            report = pipeline.run(job, around=StepTasks())
    except Exception as fault:
        return endings.failed(fault)
    return endings.registered(report)
