"""Prefect's server and its schedules: both have broken silently with parts that pip would take."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from readvault.adapters.ports import LOOPBACK, reserve_port
from readvault.adapters.processes import Child, RunningChild, base_environment

pytestmark = pytest.mark.slow

AUTH = "admin:only-for-this-test"
START_LIMIT = 90.0
SCHEDULE_LIMIT = 90.0


@pytest.fixture(scope="module")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API of a Prefect server of this module alone."""
    home = tmp_path_factory.mktemp("prefect")
    port = reserve_port()
    server = RunningChild(
        Child(
            name="prefect",
            argv=(sys.executable, "-m", "prefect", "server", "start"),
            log=home / "server.log",
            env={
                **base_environment(),
                "PREFECT_HOME": str(home),
                "PREFECT_SERVER_API_HOST": LOOPBACK,
                "PREFECT_SERVER_API_PORT": str(port),
                "PREFECT_SERVER_API_AUTH_STRING": AUTH,
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "DO_NOT_TRACK": "1",
            },
        )
    )
    api = f"http://{LOOPBACK}:{port}/api"
    try:
        with httpx.Client(timeout=5) as http:
            end = time.monotonic() + START_LIMIT
            while not _is_healthy(http, api):
                assert server.exit_code is None, "\n".join(server.last_lines(20))
                assert time.monotonic() < end, "\n".join(server.last_lines(20))
                time.sleep(0.3)
        yield api
    finally:
        server.stop()


def _is_healthy(http: httpx.Client, api: str) -> bool:
    try:
        return http.get(f"{api}/health").status_code == 200
    except httpx.HTTPError:
        return False


def test_the_server_answers_and_asks_for_its_password(prefect_api: str) -> None:
    with httpx.Client(base_url=prefect_api, timeout=10) as http:
        assert http.get("/health").json() is True
        assert http.get("/admin/version").status_code == 401
        user, _, password = AUTH.partition(":")
        assert http.get("/admin/version", auth=(user, password)).status_code == 200
        assert http.get(prefect_api.removesuffix("/api") + "/").status_code == 200  # its web pages


def test_a_cron_schedule_really_makes_runs(prefect_api: str) -> None:
    runs = asyncio.run(_scheduled_runs(prefect_api))
    assert len(runs) >= 1
    assert {run["state_type"] for run in runs} == {"SCHEDULED"}
    assert all(run["auto_scheduled"] for run in runs)


async def _scheduled_runs(api: str) -> list[dict[str, Any]]:
    """Deploy a flow that runs each minute; the runs that the server has made of it by itself."""
    user, _, password = AUTH.partition(":")
    async with httpx.AsyncClient(base_url=api, auth=(user, password), timeout=30) as http:

        async def post(path: str, content: dict[str, Any]) -> Any:
            answer = await http.post(path, json=content)
            assert answer.status_code < 300, answer.text
            return answer.json()

        flow = await post("/flows/", {"name": "nothing"})
        await post("/work_pools/", {"name": "nowhere", "type": "process"})
        deployment = await post(
            "/deployments/",
            {
                "name": "each-minute",
                "flow_id": flow["id"],
                "work_pool_name": "nowhere",
                "entrypoint": "nothing.nothing",
                "schedules": [{"schedule": {"cron": "* * * * *", "timezone": "UTC"}, "active": True}],
            },
        )
        end = time.monotonic() + SCHEDULE_LIMIT
        while time.monotonic() < end:
            wanted = {"deployments": {"id": {"any_": [deployment["id"]]}}}
            runs: list[dict[str, Any]] = await post("/flow_runs/filter", wanted)
            if runs:
                return runs
            await asyncio.sleep(1)
    return []
