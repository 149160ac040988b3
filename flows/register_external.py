"""What an external pipeline sent becomes a version once the SHA-256 of its files is known."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from readvault.bootstrap import worker_house
from tasks import endings


@flow(name="register-external", persist_result=False)
def register_external(job_id: str) -> State[Any]:
    """Hash the files that an external pipeline sent or passed on, and register the version.

    Args:
        job_id: The job to do.
    """
    try:
        with worker_house().open_external_registration(job_id) as register:
            if register is None:
                return endings.nothing_to_do()
            register()
    except Exception as fault:
        return endings.failed(fault)
    return Completed(message="The version is registered.")
