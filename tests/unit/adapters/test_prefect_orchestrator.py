"""What Prefect's answers about a run mean for the job that it was to start."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from readvault.adapters.prefect_orchestrator import PrefectOrchestrator
from readvault.config import PrefectSettings, Settings
from readvault.domain.lanes import Queue
from readvault.ports import Delivery, RunState

NO_QUEUE = {"work_queue_id": None}
"""What Prefect leaves of a deployment whose work pool was deleted."""
SETTINGS = Settings(prefect=PrefectSettings(api_url="http://prefect.invalid/api"))


@pytest.mark.parametrize(
    ("status", "state_type", "queue", "meaning"),
    [
        (200, "SCHEDULED", "a queue", RunState.WAITING),
        (200, "SCHEDULED", None, RunState.MISSING),  # its work pool was deleted: it is in no queue
        (200, "RUNNING", None, RunState.RUNNING),
        (200, "CRASHED", None, RunState.ENDED),
        (404, "", None, RunState.MISSING),
        (503, "", None, None),
    ],
)
def test_a_run_that_nobody_will_start_is_missing(
    status: int, state_type: str, queue: str | None, meaning: RunState | None
) -> None:
    answer = {"state_type": state_type, "work_queue_id": queue}
    transport = httpx.MockTransport(lambda _: httpx.Response(status, json=answer))
    assert PrefectOrchestrator(SETTINGS, transport=transport).state_of("run") is meaning


@pytest.mark.parametrize(
    ("name", "message", "meaning"),
    [
        ("Cancelled", None, RunState.CANCELLED),
        ("HandedBack", "this worker stops", RunState.ENDED),
        ("Cancelled", "Deployment concurrency limit reached.", RunState.ENDED),
    ],
)
def test_only_what_a_person_cancelled_is_cancelled(name: str, message: str | None, meaning: RunState) -> None:
    state = {"name": name, "message": message}
    answer = {"state_type": "CANCELLED", "work_queue_id": "a queue", "state": state}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    assert PrefectOrchestrator(SETTINGS, transport=transport).state_of("run") is meaning


def test_prefect_is_asked_once_for_all_that_wait() -> None:
    there, lost, other = (str(uuid4()) for _ in range(3))
    asked: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content)["flow_runs"])
        return httpx.Response(200, json=[{"id": there, "work_queue_id": "a queue"}, {"id": lost} | NO_QUEUE])

    orchestrator = PrefectOrchestrator(SETTINGS, transport=httpx.MockTransport(answer))
    assert orchestrator.waiting_among([there, lost, other, "inline-1"]) == {there}
    assert [filter["id"]["any_"] for filter in asked] == [[there, lost, other]]


def test_where_prefect_cannot_be_asked_nothing_is_known_to_wait() -> None:
    orchestrator = PrefectOrchestrator(SETTINGS, transport=httpx.MockTransport(lambda _: httpx.Response(503)))
    assert orchestrator.waiting_among([str(uuid4())]) == frozenset()


def test_a_huge_job_goes_to_its_own_deployment_and_to_the_large_ones_where_there_is_none() -> None:
    asked: list[tuple[str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            name = "/".join(request.url.path.split("/")[-2:])
            answer = {"id": name.replace("/", "-"), "work_queue_id": "a queue"}
            if name.endswith("/huge") and pool != "is there":
                return httpx.Response(404) if pool == "never was" else httpx.Response(200, json=answer | NO_QUEUE)
            return httpx.Response(200, json=answer)
        asked.append((request.url.path.split("/")[-2], json.loads(request.content).get("work_queue_name")))
        return httpx.Response(201, json={"id": "run"})

    orchestrator = PrefectOrchestrator(SETTINGS, transport=httpx.MockTransport(answer))
    for pool in ("never was", "is there", "was deleted"):  # noqa: B007 - `answer` looks at it
        assert orchestrator.deliver(Delivery("job", 1, "process-submission", "LOC_1.1", Queue.HUGE)) == "run"
    large = ("process-submission-default", "large")
    assert asked == [large, ("process-submission-huge", None), large]
