"""Processed files that were lost are made again, from originals that nobody has touched since."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from readvault import pipeline
from readvault.bootstrap import worker_house
from tasks import endings
from tasks.steps import StepTasks


@flow(name="repair", persist_result=False)
def repair(job_id: str) -> State[Any]:
    """Do a submission's steps again and put back the files that are lost; nothing else changes.

    Args:
        job_id: The job to do.
    """
    try:
        with worker_house().open_repair(job_id) as job:
            if job is None:
                return endings.nothing_to_do()
            pipeline.run(job, around=StepTasks())
    except Exception as fault:
        return endings.failed(fault)
    return Completed(message="What was lost is put back.")
