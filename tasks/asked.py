"""What a person asked for in a form of Prefect's UI, and the job that does it."""

from __future__ import annotations

import logging

from prefect import runtime
from prefect.client.orchestration import get_client

from readvault.bootstrap import worker_house
from readvault.domain.errors import BadRequest
from readvault.domain.status import JobKind
from tasks.forms import Entry, EntryAgain

logger = logging.getLogger(__name__)

ACTOR = "prefect"
"""Who the audit log names for a run that was started in Prefect's UI: it knows one password, no person."""


def again(job_id: str) -> str:
    """The job of a run that somebody retries: it is due at once if it is open, also when it needs attention."""
    if job_id and runtime.flow_run.run_count > 1:
        worker_house().make_due(job_id, ACTOR)
    return job_id


def to_process_again(entry: EntryAgain | None) -> str:
    """The job that processes an entry again, made if need be. Raises BadRequest when no entry is given."""
    name = _named_after(entry)
    assert entry is not None
    return worker_house().job_for(name, entry.reason.strip(), actor=ACTOR)


def to_go_on_with(entry: Entry | None, kind: JobKind) -> str:
    """The entry's job of this kind that is not done; empty when there is none. Raises BadRequest as above."""
    return worker_house().job_of(_named_after(entry), kind) or ""


def _named_after(entry: Entry | None) -> str:
    """The accession version, which becomes the run's name."""
    if entry is None:
        raise BadRequest("Give an accession version (and a reason, where the form asks for one).")
    name = entry.accession_version.strip()
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(runtime.flow_run.id, name=name)
    except Exception as fault:  # a run without its name is still a run
        logger.warning("a run can't be named: %s", type(fault).__name__)
    return name
