"""What Prefect's answers about a run mean for the job that it was to start."""

from __future__ import annotations

import httpx
import pytest

from readvault.adapters.prefect_orchestrator import PrefectOrchestrator
from readvault.config import PrefectSettings, Settings
from readvault.ports import RunState

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
