"""Processed files that were lost are made again, from originals that nobody has touched since."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from readvault import pipeline
from readvault.bootstrap import worker_house
from readvault.domain.status import JobKind
from tasks import asked, endings
from tasks.forms import NOT_ASKED, Entry
from tasks.steps import StepTasks


@flow(name="repair", persist_result=False, validate_parameters=True)
def repair(entry: Entry = NOT_ASKED, job_id: str = "") -> State[Any]:
    """Do a submission's steps again and put back the files that are lost; nothing else changes.

    Args:
        entry: Whose repair is to go on.
        job_id: Leave it empty. The instance fills it in when it starts a run by itself.
    """
    try:
        job_id = asked.again(job_id) or asked.to_go_on_with(entry, JobKind.REPAIR)
        with worker_house().open_repair(job_id) as job:
            if job is None:
                return endings.nothing_to_do()
            pipeline.run(job, around=StepTasks())
    except Exception as fault:
        return endings.failed(fault, job_id)
    return Completed(message="What was lost is put back.")
