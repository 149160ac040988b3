"""Originals come in, a version that a person can review comes out."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from readvault import pipeline
from readvault.bootstrap import worker_house
from tasks import asked, endings
from tasks.forms import NOT_ASKED, EntryAgain
from tasks.steps import StepTasks


@flow(name="process-submission", persist_result=False, validate_parameters=True)
def process_submission(entry: EntryAgain = NOT_ASKED, job_id: str = "") -> State[Any]:
    """Fetch the originals, validate, dehumanize, align, call the consensus, check, stage, register.

    Args:
        entry: What is processed again, and why.
        job_id: Leave it empty. The instance fills it in when it starts a run by itself.
    """
    try:
        job_id = asked.again(job_id) or asked.to_process_again(entry)
        with worker_house().open_job(job_id) as job:
            if job is None:
                return endings.nothing_to_do()
            report = pipeline.run(job, around=StepTasks())
    except Exception as fault:
        return endings.failed(fault, job_id)
    return endings.registered(report)
