"""A submitter has their files in a bucket of their own: what they asked for is copied into ours."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from readvault.bootstrap import worker_house
from tasks import artifacts, asked, endings


@flow(name="import-files", persist_result=False, validate_parameters=True)
def import_files(job_id: str = "") -> State[Any]:
    """Pull the files of one request, hash them on the way, and hand them over as uploads.

    Args:
        job_id: Leave it empty. The instance fills it in when it starts a run by itself.
    """
    try:
        job_id = asked.again(job_id)
        with worker_house().open_import(job_id) as pull:
            if pull is None:
                return endings.nothing_to_do()
            pulled = pull()
        artifacts.show_counts("import", pulled.counts())
    except Exception as fault:
        return endings.failed(fault, job_id)
    return Completed(message=f"{pulled.files} files are pulled, {pulled.failed} sources failed.")
