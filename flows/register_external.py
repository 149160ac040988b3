"""What an external pipeline sent becomes a version once the SHA-256 of its files is known."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from readvault.bootstrap import worker_house
from readvault.domain.status import JobKind
from tasks import asked, endings
from tasks.forms import NOT_ASKED, Entry


@flow(name="register-external", persist_result=False, validate_parameters=True)
def register_external(entry: Entry = NOT_ASKED, job_id: str = "") -> State[Any]:
    """Hash the files that an external pipeline sent or passed on, and register the version.

    Args:
        entry: Whose registration is to go on.
        job_id: Leave it empty. The instance fills it in when it starts a run by itself.
    """
    try:
        job_id = asked.again(job_id) or asked.to_go_on_with(entry, JobKind.REGISTER_EXTERNAL)
        with worker_house().open_external_registration(job_id) as register:
            if register is None:
                return endings.nothing_to_do()
            register()
    except Exception as fault:
        return endings.failed(fault, job_id)
    return Completed(message="The version is registered.")
