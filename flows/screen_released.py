"""A newer host index may know human reads that an older one let through: what is released is looked at again."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from readvault.bootstrap import worker_house
from tasks import artifacts, endings


@flow(name="screen", persist_result=False, validate_parameters=True)
def screen(job_id: str = "") -> State[Any]:
    """Look up released reads in the host index of today; where too many hit it, nobody gets them from then on.

    Args:
        job_id: Leave it empty: then released reads that the index has not seen are looked for.
    """
    try:
        house = worker_house()
        if not job_id:
            queued = house.screen_anew()
            return Completed(message=f"{queued} entries are queued; the others follow, a few at a time")
        with house.open_screening(job_id) as look_up:
            if look_up is None:
                return endings.nothing_to_do()
            report = look_up()
        artifacts.show("screen", report)
    except Exception as fault:
        return endings.failed(fault, job_id)
    return Completed(message="The reads are screened.")
