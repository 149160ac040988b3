"""An approved version is public from its commit on; what remains is locked and announced here."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from readvault.bootstrap import worker_house
from readvault.domain.status import JobKind
from tasks import asked, endings
from tasks.forms import NOT_ASKED, Entry


@flow(name="release", persist_result=False, validate_parameters=True)
def release(entry: Entry = NOT_ASKED, job_id: str = "") -> State[Any]:
    """Lock the files of an approved version and do what else follows an approval.

    Args:
        entry: Whose release is to go on.
        job_id: Leave it empty. The instance fills it in when it starts a run by itself.
    """
    try:
        job_id = asked.again(job_id) or asked.to_go_on_with(entry, JobKind.RELEASE)
        with worker_house().open_release(job_id) as publish:
            if publish is None:
                return endings.nothing_to_do()
            publish()
    except Exception as fault:
        return endings.failed(fault, job_id)
    return Completed(message="The release is complete.")
