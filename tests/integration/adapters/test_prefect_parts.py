"""What our worker keeps of the runs that Prefect shows it, and which parts of Prefect it stands on."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect.workers.base import BaseWorker

from readvault.adapters import prefect_engine, prefect_server, prefect_worker_process
from readvault.adapters.prefect_deployments import described_deployments
from readvault.adapters.prefect_worker import InProcessWorker
from readvault.cli.stack import Stack, Wishes
from readvault.domain.lanes import Lane, Queue
from tests.conftest import REPOSITORY


class _Looking(InProcessWorker):
    """A worker that is shown three runs at each look; a run lasts until `release`."""

    type = "looking"

    def __init__(self) -> None:
        super().__init__(work_pool_name="reads", name="looking", places={Lane.SMALL: 1, Lane.LARGE: 1})
        self._has_successfully_synced = True
        self.release = asyncio.Event()
        self.drains_while_asking = False
        self.begun: list[uuid.UUID] = []

    async def _ask_for_runs(self, lane: Lane, places: int) -> list[WorkerFlowRunResponse]:
        if self.drains_while_asking:
            self.drain()
        shown = [FlowRun(flow_id=uuid.uuid4()) for _ in range(3)] if lane is Lane.SMALL else []
        pool = uuid.uuid4()
        return [WorkerFlowRunResponse(work_pool_id=pool, work_queue_id=pool, flow_run=each) for each in shown]

    async def _propose_pending_state(self, flow_run: FlowRun) -> bool:
        self.begun.append(flow_run.id)
        await self.release.wait()
        return False


def _looked(what: Callable[[_Looking], None], **options: bool) -> None:
    async def look() -> None:
        worker = _Looking()
        for name, value in options.items():
            setattr(worker, name, value)
        async with anyio.create_task_group() as tasks:
            worker._runs_task_group = tasks
            await worker.get_and_submit_flow_runs()
            await anyio.sleep(0)
            what(worker)
            worker.drain()
            worker.release.set()

    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):  # else Prefect starts a server for the logs
        asyncio.run(look())


def test_a_run_that_finds_no_place_leaves_nothing_behind() -> None:
    """Of many workers each sees most runs of the others: in months these would fill its memory."""

    def only_what_began(worker: _Looking) -> None:
        assert len(worker.begun) == 1
        assert list(worker._lanes) == worker.begun

    _looked(only_what_began)


def test_a_run_that_is_about_to_begin_is_waited_for() -> None:
    """Else a worker that is asked to stop would leave it pending in Prefect for ever."""

    def one(worker: _Looking) -> None:
        assert worker.running == 1

    _looked(one)


def test_housekeeping_takes_no_place_of_a_job_and_is_seldom_asked_for() -> None:
    asked: list[Lane] = []

    class Asking(_Looking):
        type = "asking"

        async def _ask_for_runs(self, lane: Lane, places: int) -> list[WorkerFlowRunResponse]:
            asked.append(lane)
            return []

    async def look() -> None:
        worker = Asking()
        worker._places[Lane.HOUSEKEEPING] = anyio.CapacityLimiter(1)
        async with anyio.create_task_group() as tasks:
            worker._runs_task_group = tasks
            for _ in range(3):
                await worker.get_and_submit_flow_runs()
            worker._asked_at[Lane.HOUSEKEEPING] -= 60
            await worker.get_and_submit_flow_runs()

    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):
        asyncio.run(look())
    assert asked.count(Lane.SMALL) == asked.count(Lane.LARGE) == 4
    assert asked.count(Lane.HOUSEKEEPING) == 2


def test_what_goes_through_all_that_is_stored_waits_in_a_queue_of_its_own() -> None:
    queues = {
        each.entrypoint.rpartition(".")[2]: each.queue for each in described_deployments(REPOSITORY / "prefect.yaml")
    }
    assert queues["verify_integrity"] == queues["collect_garbage"] == Queue.HOUSEKEEPING
    assert queues["recover"] == queues["process_submission"] == Queue.DEFAULT


def test_nothing_begins_once_the_worker_is_to_stop() -> None:
    def none(worker: _Looking) -> None:
        assert worker.begun == []
        assert worker.running == 0

    _looked(none, drains_while_asking=True)


OVERRIDDEN: list[tuple[type, str]] = [
    *((InProcessWorker, name) for name in (
        "run", "setup", "teardown", "get_and_submit_flow_runs", "_release_limit_slot", "_submit_scheduled_flow_runs",
        "_submit_run",
    )),
    (prefect_engine.RunEngine, "setup_flow_run_suspension_request"),
    (prefect_engine.RunEngine, "set_state"),
    (prefect_engine.RunClient, "read_flow_run"),
    (prefect_engine.RunClient, "update_flow_run"),
    (prefect_engine.RunClient, "read_server_default_result_storage"),
]  # fmt: skip
"""What we put in place of Prefect's own. Were it gone or renamed there, ours would just never be called."""


@pytest.mark.parametrize(("ours", "name"), OVERRIDDEN, ids=[name for _, name in OVERRIDDEN])
def test_what_is_replaced_is_still_there_in_prefect(ours: type, name: str) -> None:
    theirs = getattr(ours.__mro__[1], name)
    names = list(inspect.signature(theirs).parameters)
    mine = inspect.signature(getattr(ours, name)).parameters.values()
    named = [each.name for each in mine if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    needed = named if name != "get_and_submit_flow_runs" else named[:1]  # there the one of ours is optional
    assert names[: len(needed)] == needed


def test_prefect_calls_what_is_replaced() -> None:
    """Each of these is a silent change of an upgrade: nothing fails, but places leak, or each run gets a websocket."""
    worker, engine = inspect.getsource(BaseWorker), inspect.getsource(prefect_engine.RunEngine.__mro__[1])
    for source, call in (
        (worker, "self._submit_run,"),
        (worker, "self._limiter.acquire_on_behalf_of_nowait(flow_run.id)"),
        (worker, "self.get_and_submit_flow_runs"),
        (engine, "self.setup_flow_run_suspension_request()"),
        (engine, "self.set_state("),
    ):
        assert call in source


def test_another_prefect_than_the_tried_one_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prefect_worker_process.tell_of_another_prefect()
    assert caplog.messages == [], "raise TRIED when all of tests/integration/test_prefect_worker.py passes"
    monkeypatch.setattr("prefect.__version__", "3.9.0")
    prefect_worker_process.tell_of_another_prefect()
    assert "Prefect 3.9.0 is installed" in caplog.text


def test_one_version_of_prefect_is_named_everywhere() -> None:
    locked = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    assert f"\nprefect=={prefect_worker_process.TRIED} " in locked
    described = (REPOSITORY / "prefect.yaml").read_text(encoding="utf-8")
    assert f"\nprefect-version: {prefect_worker_process.TRIED}\n" in described


def test_the_transaction_of_the_server_is_begun_as_we_begin_it() -> None:
    from prefect.server.database.configurations import AioSqliteConfiguration

    theirs = list(inspect.signature(AioSqliteConfiguration.begin_transaction).parameters)[1:]
    begun: Any = prefect_server.in_turn(AioSqliteConfiguration.begin_transaction)
    assert theirs == list(inspect.signature(inspect.unwrap(begun)).parameters)[1:] == ["session", "with_for_update"]


def test_prefect_keeps_leases_over_a_restart(tmp_path: Path) -> None:
    """A verification that a power cut ended would otherwise be the last one: its place would never be free again."""
    stack = Stack(Wishes(data_dir=tmp_path, organisms_dir=tmp_path), "stack-of-a-test")
    (prefect,) = (dict(child.env) for child in stack.children() if child.name == "prefect")
    storage = prefect["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"]
    assert hasattr(importlib.import_module(storage), "ConcurrencyLeaseStorage")
    assert not storage.endswith(".memory")
