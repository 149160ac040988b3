"""An approved version is public from its commit on; what remains is locked and announced here."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from readvault.bootstrap import worker_house
from tasks import endings


@flow(name="release", persist_result=False)
def release(job_id: str) -> State[Any]:
    """Lock the files of an approved version and do what else follows an approval.

    Args:
        job_id: The job to do.
    """
    try:
        with worker_house().open_release(job_id) as publish:
            if publish is None:
                return endings.nothing_to_do()
            publish()
    except Exception as fault:
        return endings.failed(fault)
    return Completed(message="The release is complete.")
