"""Prefect's worker, ours: flows run in threads of one long-lived process that has its nursery beside it.

Starting a process for each run costs 4 s of CPU, a thread 0.16 s. It is an ordinary work pool for
everybody else: buttons, schedules, tags and limits of Prefect's UI work. Native code never runs in
this process, so a thread can't be torn down by a file.

BaseWorker's methods with a leading underscore are no promise of Prefect's; `tests/integration` runs
them against the installed version.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any
from uuid import UUID

import anyio
import anyio.abc
import anyio.to_thread
import httpx
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.exceptions import PrefectException, PrefectSignal
from prefect.flow_engine import run_flow
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult
from pydantic import PrivateAttr

from readvault.domain.errors import NotReady

logger = logging.getLogger(__name__)

TYPE = "readvault"
_KILL_AGAIN_AFTER = 0.5
_WATCH_EVERY = 3.0


class InProcessJob(BaseJobConfiguration):
    """What a run needs to start here: the flow's entrypoint, which its deployment knows."""

    _entrypoint: str | None = PrivateAttr(default=None)

    def prepare_for_flow_run(self, flow_run: FlowRun, deployment: Any = None, *more: Any, **rest: Any) -> None:
        """Keep the entrypoint beside what every worker prepares."""
        super().prepare_for_flow_run(flow_run, deployment, *more, **rest)
        self._entrypoint = deployment.entrypoint if deployment else None

    @property
    def entrypoint(self) -> str:
        """The flow as `module.function`. Raises NotReady for a run without a deployment."""
        if self._entrypoint is None:
            raise NotReady("the run belongs to no deployment with an entrypoint")
        return self._entrypoint


class InProcessResult(BaseWorkerResult):
    """How a run in this process ended."""


class InProcessWorker(BaseWorker[InProcessJob, BaseVariables, InProcessResult]):
    """Runs flows in threads of its own process, up to `limit` at once.

    `kill_job` ends the work that is done under a flow run's name, when somebody cancels the run.
    """

    type = TYPE
    job_configuration = InProcessJob
    _display_name = "readvault"
    _description = "Runs readvault's flows in threads of the worker's process, native code in its nursery."

    def __init__(self, *args: Any, kill_job: Callable[[str], None] | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._kill_job = kill_job
        self._flows: dict[str, Flow[..., Any]] = {}
        self._running: dict[UUID, FlowRun] = {}
        self._cancelled: set[UUID] = set()
        self._draining = False
        self._polling = anyio.Lock()
        self._threads = anyio.CapacityLimiter(max(self._limit or 0, 1) + 4)

    @property
    def running(self) -> int:
        """How many flow runs are under way."""
        return len(self._running)

    def drain(self) -> None:
        """Take no further run."""
        self._draining = True

    async def run(
        self,
        flow_run: FlowRun,
        configuration: InProcessJob,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> InProcessResult:
        """Run a flow in a thread, from its start to its final state.

        A flow that can't be loaded raises: Prefect then shows the run as Crashed with the reason.
        """
        self._running[flow_run.id] = flow_run
        try:
            flow = await self._flow(configuration.entrypoint)
            if task_status is not None:
                task_status.started(os.getpid())
            state = await anyio.to_thread.run_sync(_run_to_its_end, flow, flow_run, limiter=self._threads)
            if flow_run.id in self._cancelled and not (state is not None and state.is_completed()):
                await self._mark_flow_run_as_cancelled(flow_run, {"message": "Cancelled; the job's child was killed."})
        finally:
            del self._running[flow_run.id]
            self._cancelled.discard(flow_run.id)
        return InProcessResult(identifier=str(os.getpid()), status_code=0)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Look for runs that are due and start them; one look at a time."""
        async with self._polling:
            return [] if self._draining else await super().get_and_submit_flow_runs()

    async def _flow(self, entrypoint: str) -> Flow[..., Any]:
        if entrypoint not in self._flows:
            load = load_flow_from_entrypoint
            self._flows[entrypoint] = await anyio.to_thread.run_sync(load, entrypoint, False)
        return self._flows[entrypoint]

    async def _submit_scheduled_flow_runs(self, flow_run_response: list[WorkerFlowRunResponse]) -> list[FlowRun]:
        """Start what isn't running yet: an answer of the server may be older than what we started since."""
        fresh = [entry for entry in flow_run_response if entry.flow_run.id not in self._running]
        return await super()._submit_scheduled_flow_runs(fresh)

    async def _submit_run_and_capture_errors(self, flow_run: FlowRun, task_status: Any = None) -> Any:
        """When a run ends, look for the next one at once: waiting for the next poll would waste its place."""
        try:
            return await super()._submit_run_and_capture_errors(flow_run, task_status)
        finally:
            if self._runs_task_group is not None and not self._polling.locked():
                self._runs_task_group.start_soon(self._look_again)

    async def _look_again(self) -> None:
        try:
            await self.get_and_submit_flow_runs()
        except (httpx.HTTPError, PrefectException, RuntimeError):
            logger.debug("Prefect can't be reached; the next poll tries again")

    async def _propose_submitting_state(self, flow_run: FlowRun) -> None:
        """Nothing is submitted anywhere; a state less to write for each run."""

    async def _give_worker_labels_to_flow_run(self, flow_run_id: UUID) -> None:
        """The run's first log line names the worker; a write less for each run."""

    async def watch_cancellations(self) -> None:
        """Ask for ever which of our runs somebody cancelled, and kill what works under their names.

        Prefect's own observer hears of it by an event, which can be lost, and then asks every two minutes.
        """
        while True:
            await anyio.sleep(_WATCH_EVERY)
            unasked = [run for run in self._running if run not in self._cancelled]
            if not unasked or self._client is None:
                continue
            asked = FlowRunFilter(
                id=FlowRunFilterId(any_=unasked),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING])),
            )
            try:
                cancelling = await self.client.read_flow_runs(flow_run_filter=asked)
            except (httpx.HTTPError, PrefectException, RuntimeError):
                logger.debug("Prefect can't be reached; cancellations are asked for again")
                continue
            for flow_run in cancelling:
                self._cancelled.add(flow_run.id)
                if self._runs_task_group is not None:
                    self._runs_task_group.start_soon(self._kill_until_it_ends, flow_run.id, flow_run.name)

    async def _kill_until_it_ends(self, flow_run_id: UUID, name: str) -> None:
        while flow_run_id in self._running and self._kill_job is not None:
            await anyio.to_thread.run_sync(self._kill_job, name)
            await anyio.sleep(_KILL_AGAIN_AFTER)


def _run_to_its_end(flow: Flow[..., Any], flow_run: FlowRun) -> State[Any] | None:
    """Run a flow in this thread; its final state, or None when Prefect stopped it or got lost.

    Without heartbeats, because a synchronous flow waits a second for the heartbeat's thread to end.
    Our leases find a dead worker sooner.
    """
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        try:
            state = run_flow(flow, flow_run=flow_run, parameters=flow_run.parameters, return_type="state")
        except PrefectSignal:
            return None
        except Exception as fault:
            logger.warning("Prefect lost sight of a run (%s)", type(fault).__name__)
            return None
    assert state is None or isinstance(state, State)
    return state
