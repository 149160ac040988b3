"""Prefect as the starter of jobs, over its REST API: no Prefect is imported, so the API process stays small."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx

from readvault.config import Settings
from readvault.counters import PREFECT_FAILURES
from readvault.domain.errors import NotReady
from readvault.domain.lanes import Queue
from readvault.ports import Delivery, RunState

logger = logging.getLogger(__name__)

TIMEOUT = 5.0
"""Seconds for one request: a database that waits for Prefect would be worse than a late job."""

_HUGE = "/huge"
_ASKED_TOGETHER = 200
_PAUSES = (0.05, 0.2, 0.5)
"""Seconds between tries."""

_STATES = {
    "SCHEDULED": RunState.WAITING,
    "PENDING": RunState.PENDING,
    "RUNNING": RunState.RUNNING,
    "PAUSED": RunState.RUNNING,
    "CANCELLING": RunState.RUNNING,
    "COMPLETED": RunState.ENDED,
    "FAILED": RunState.ENDED,
    "CRASHED": RunState.ENDED,
    "CANCELLED": RunState.CANCELLED,
}


class _NobodyStartsItError(Exception):
    """A deployment is in no work pool: Prefect makes its runs, and no worker ever sees them."""


class PrefectOrchestrator:
    """Wakes a worker by a flow run of the deployment `<kind>/default`, or `<kind>/huge` for a job of that size.

    A run's parameters are the job ID and nothing else: Prefect shows them to whoever has its password.
    """

    def __init__(self, settings: Settings, *, transport: httpx.BaseTransport | None = None) -> None:
        if settings.prefect.api_url is None:
            raise NotReady("prefect.api_url is not set (READVAULT_PREFECT__API_URL)")
        password = settings.prefect.auth_string
        user, _, secret = password.get_secret_value().partition(":") if password else ("", "", "")
        self._client = httpx.Client(
            base_url=settings.prefect.api_url.rstrip("/"),
            auth=(user, secret) if password else None,
            timeout=TIMEOUT,
            transport=transport,
        )
        self._deployments: dict[str, str] = {}
        self._lock = threading.Lock()

    def deliver(self, delivery: Delivery) -> str | None:
        """Make a flow run; its ID, or None when Prefect can't be reached or doesn't know the deployment yet.

        The same delivery again gives the same run, even one that ended.
        """
        try:
            return self._create_run(delivery)
        except httpx.HTTPStatusError as refusal:
            if delivery.queue == Queue.HUGE and refusal.response.status_code == httpx.codes.NOT_FOUND:
                return self._deliver_as_large(delivery)
            PREFECT_FAILURES.labels("deliver").inc()
            logger.warning("Prefect answered %d to a delivery", refusal.response.status_code)
        except _NobodyStartsItError:
            return self._deliver_as_large(delivery)
        except (httpx.HTTPError, ValueError, KeyError) as fault:
            PREFECT_FAILURES.labels("deliver").inc()
            logger.warning("Prefect can't be reached (%s); the delivery is made again later", type(fault).__name__)
        return None

    def _deliver_as_large(self, delivery: Delivery) -> str | None:
        logger.warning("nothing in Prefect does huge jobs; %s is done as a large one", delivery.label)
        return self.deliver(replace(delivery, queue=Queue.LARGE))

    def waiting_among(self, run_ids: Sequence[str]) -> frozenset[str]:
        """Which of at most 200 runs wait in a work queue; none when Prefect can't be asked."""
        ids = [run_id for run_id in run_ids if _is_uuid(run_id)]  # the others are runs of another orchestrator
        wanted = {"id": {"any_": ids}, "state": {"type": {"any_": ["SCHEDULED"]}}}
        try:
            answer = self._client.post("/flow_runs/filter", json={"flow_runs": wanted, "limit": _ASKED_TOGETHER})
            return frozenset(run["id"] for run in answer.raise_for_status().json() if run["work_queue_id"] is not None)
        except (httpx.HTTPError, ValueError, KeyError):
            PREFECT_FAILURES.labels("state").inc()
            return frozenset()

    def state_of(self, run_id: str) -> RunState | None:
        """What Prefect says of a run; MISSING when nobody will ever start it, None when Prefect can't be asked.

        Nobody starts a run that Prefect has forgotten, nor one whose work pool was deleted while it
        waited: Prefect keeps that one as scheduled, in no queue, also when the pool is made anew.
        """
        try:
            answer = self._client.get(f"/flow_runs/{run_id}")
            if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.UNPROCESSABLE_ENTITY):
                return RunState.MISSING
            run = answer.raise_for_status().json()
            state = _STATES.get(run["state_type"])
            if state is RunState.CANCELLED and not _by_a_person(run["state"]):
                return RunState.ENDED
            return RunState.MISSING if state is RunState.WAITING and run["work_queue_id"] is None else state
        except (httpx.HTTPError, ValueError, KeyError):
            PREFECT_FAILURES.labels("state").inc()
            return None

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def _create_run(self, delivery: Delivery) -> str:
        """Prefect on SQLite answers 503, or nothing, while others write: ask again, the key makes it one run."""
        body = {
            "name": delivery.label,
            "parameters": {"job_id": delivery.job_id},
            "idempotency_key": f"{delivery.job_id}:{delivery.number}",
            "tags": [delivery.kind],
        }
        huge = delivery.queue == Queue.HUGE  # its own work pool has queues of its own
        if not huge:
            body["work_queue_name"] = delivery.queue
        deployment = f"{delivery.kind}{_HUGE if huge else '/default'}"
        for pause in _PAUSES:
            try:
                answer = self._client.post(f"/deployments/{self._deployment(deployment)}/create_flow_run", json=body)
                if answer.status_code == httpx.codes.NOT_FOUND:  # deployed anew since we asked
                    self._forget(deployment)
                elif answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    return _id(answer)
            except (httpx.RemoteProtocolError, httpx.ReadError):
                logger.debug("Prefect closed the connection; asking again")
            time.sleep(pause)
        return _id(self._client.post(f"/deployments/{self._deployment(deployment)}/create_flow_run", json=body))

    def _deployment(self, name: str) -> str:
        with self._lock:
            known = self._deployments.get(name)
        if known is None:
            answer = self._client.get(f"/deployments/name/{name}")
            known = _id(answer)
            if name.endswith(_HUGE):  # asked for each: its pool may go, and the deployment outlives it
                if answer.json().get("work_queue_id") is None:
                    raise _NobodyStartsItError
                return known
            with self._lock:
                self._deployments[name] = known
        return known

    def _forget(self, name: str) -> None:
        with self._lock:
            self._deployments.pop(name, None)


def _by_a_person(state: dict[str, Any]) -> bool:
    """Whether somebody cancelled a run: what a worker gives up has another name, and a full deployment says so."""
    return state.get("name") == "Cancelled" and "concurrency" not in (state.get("message") or "")


def _is_uuid(run_id: str) -> bool:
    try:
        UUID(run_id)
    except ValueError:
        return False
    return True


def _id(answer: httpx.Response) -> str:
    content: dict[str, Any] = answer.raise_for_status().json()
    return str(content["id"])
