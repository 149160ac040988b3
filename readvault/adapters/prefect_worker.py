"""Prefect's worker, ours: flows run in threads of one long-lived process that has its nursery beside it.

Starting a process for each run costs 4 s of CPU, a thread 0.16 s. It is an ordinary work pool for
everybody else: buttons, schedules, tags and limits of Prefect's UI work. Native code never runs in
this process, so a thread can't be torn down by a file.

BaseWorker's methods with a leading underscore are no promise of Prefect's; `tests/integration` runs
them against the installed version.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import anyio
import anyio.abc
import anyio.to_thread
import httpx
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import DeploymentResponse, WorkerFlowRunResponse
from prefect.exceptions import PrefectException
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.states import Cancelled
from prefect.types._datetime import now
from prefect.workers.base import BaseVariables, BaseWorker

from readvault.adapters import prefect_engine
from readvault.adapters.prefect_job import InProcessJob, InProcessResult
from readvault.adapters.prefect_questions import cancelled_among, due_runs
from readvault.domain.lanes import QUEUES_OF, Lane
from readvault.stopping import CANCELLED, Run

logger = logging.getLogger(__name__)

TYPE = "readvault"
_WATCH_EVERY = 2.0
_QUEUES_EVERY = 30.0
_LOOKS_AHEAD = 8
"""How many runs more than twice the places are asked for: others may take the first ones."""
_HOUSEKEEPING_EVERY = 5.0
"""Seconds after which runs are asked for that nobody waits for: each look is a request."""
_DEPLOYMENT_KNOWN_FOR = 10.0
"""Seconds for which a deployment isn't asked for again."""


class InProcessWorker(BaseWorker[InProcessJob, BaseVariables, InProcessResult]):
    """Runs flows in threads of its own process.

    `places` says how many of each lane run side by side: a large one never holds the place of a small
    one. Runs that somebody cancels are told so (`readvault.stopping.Run`), and end by themselves.
    """

    type = TYPE
    job_configuration = InProcessJob
    _display_name = "readvault"
    _description = "Runs readvault's flows in threads of the worker's process, native code in its nursery."

    def __init__(self, *args: Any, places: Mapping[Lane, int], **options: Any) -> None:
        super().__init__(*args, **options)
        self._places = {lane: anyio.CapacityLimiter(count) for lane, count in places.items()}
        self._queues = {lane: {queue.value for queue in queues} for lane, queues in QUEUES_OF.items()}
        self._lanes: dict[UUID, Lane] = {}
        self._flows: dict[str, Flow[..., Any]] = {}
        self._running: dict[UUID, Run] = {}
        self.missed = asyncio.Event()
        """Set when Prefect doesn't know the work pool or a queue of it any more."""
        self._draining = False
        self._polling = anyio.Lock()
        self._client_of_runs: prefect_engine.RunClient | None = None
        self._known_deployments: dict[UUID, tuple[float, DeploymentResponse]] = {}
        self._asked_at: dict[Lane, float] = {}
        self._threads = anyio.CapacityLimiter(sum(places.values()) + 4)

    @classmethod
    def get_default_base_job_template(cls) -> dict[str, Any]:
        """What the work pool asks for: a name at most. Prefect checks it anew for each run, so it is short."""
        name = {"title": "Name", "type": "string"}
        return {
            "job_configuration": {"name": "{{ name }}"},
            "variables": {"type": "object", "properties": {"name": name}},
        }

    @property
    def running(self) -> int:
        """How many flow runs are under way, or about to begin."""
        return len(self._running.keys() | self._submitting_flow_run_ids)

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
        run = self._running[flow_run.id] = Run(self._lanes.get(flow_run.id))
        try:
            flow = await self._flow(configuration.entrypoint)
            if task_status is not None:
                task_status.started(os.getpid())
            client = self._client_of_runs
            assert client is not None
            # Not waited for when this process ends: it may hang in a request that nobody answers.
            state = await anyio.to_thread.run_sync(
                prefect_engine.run_to_its_end,
                flow,
                flow_run,
                client,
                run,
                limiter=self._threads,
                abandon_on_cancel=True,
            )
            if state is None and not run.cancelled.is_set() and await cancelled_among(self._client, [flow_run.id]):
                run.cancelled.set()  # before it began
            if run.cancelled.is_set() and not (state is not None and (state.is_completed() or state.is_cancelled())):
                await self._mark_flow_run_as_cancelled(flow_run, {"message": CANCELLED})
        finally:
            del self._running[flow_run.id]
            self._lanes.pop(flow_run.id, None)
        return InProcessResult(identifier=str(os.getpid()), status_code=0)

    async def setup(self) -> None:
        """Begin, with one client for all runs."""
        await super().setup()
        self._client_of_runs = prefect_engine.RunClient()
        self._client_of_runs.__enter__()

    async def teardown(self, *error: Any) -> None:
        """End; the client goes after the last run."""
        await super().teardown(*error)
        if self._client_of_runs is not None:
            self._client_of_runs.__exit__(None, None, None)
            self._client_of_runs = None

    async def get_and_submit_flow_runs(self, only: Lane | None = None) -> list[FlowRun]:
        """Look for runs that are due, perhaps of one lane only, and start them; one look at a time."""
        async with self._polling:
            begun: list[FlowRun] = []
            for lane, places in self._places.items():
                if only not in (None, lane):
                    continue
                free = int(places.available_tokens)
                if free and not self._draining and self._has_successfully_synced and self._is_time_for(lane):
                    found = await self._ask_for_runs(lane, free)
                    self._limiter = places  # where Prefect's own code takes a place for each
                    for entry in found:
                        self._lanes.setdefault(entry.flow_run.id, lane)
                    begun += await self._submit_scheduled_flow_runs(found)
                    for flow_run_id in {entry.flow_run.id for entry in found} - self._submitting_flow_run_ids:
                        self._lanes.pop(flow_run_id, None)  # there was no place: another worker may do it
            self._last_polled_time = now("UTC")
            return begun

    def _is_time_for(self, lane: Lane) -> bool:
        """Whether to ask for runs of a lane now."""
        at = time.monotonic()
        if lane is Lane.HOUSEKEEPING and at - self._asked_at.get(lane, -_HOUSEKEEPING_EVERY) < _HOUSEKEEPING_EVERY:
            return False
        self._asked_at[lane] = at
        return True

    def _release_limit_slot(self, flow_run_id: UUID) -> None:
        for places in self._places.values():
            with contextlib.suppress(RuntimeError):
                places.release_on_behalf_of(flow_run_id)

    async def _flow(self, entrypoint: str) -> Flow[..., Any]:
        if entrypoint not in self._flows:
            load = load_flow_from_entrypoint
            self._flows[entrypoint] = await anyio.to_thread.run_sync(load, entrypoint, False)
        return self._flows[entrypoint]

    async def _submit_scheduled_flow_runs(self, flow_run_response: list[WorkerFlowRunResponse]) -> list[FlowRun]:
        """Start what isn't running yet: an answer of the server may be older than what we started since."""
        fresh = [entry for entry in flow_run_response if not self._draining and entry.flow_run.id not in self._running]
        return await super()._submit_scheduled_flow_runs(fresh)

    async def _ask_for_runs(self, lane: Lane, places: int) -> list[WorkerFlowRunResponse]:
        """Runs that are due, not many more than there are places: Prefect would send two hundred at each look."""
        before = datetime.now(UTC) + timedelta(seconds=int(self._prefetch_seconds))
        limit = 2 * places + _LOOKS_AHEAD
        found = await due_runs(self.client, self._work_pool_name, self._queues[lane], before=before, limit=limit)
        if found is None:
            self.missed.set()  # so that `keep_registered` makes pool, queues and deployments again
        return found or []

    async def _submit_run(self, flow_run: FlowRun) -> None:
        """Do a run from its place to its end, then look for the next one at once.

        Prefect's own asks for the deployment, the flow and the deployment again, and notes a process ID.
        """
        lane = self._lanes.get(flow_run.id)
        try:
            if await self._propose_pending_state(flow_run):
                await self._run_in_its_place(flow_run)
        finally:
            self._release_limit_slot(flow_run.id)
            self._lanes.pop(flow_run.id, None)
            self._submitting_flow_run_ids.discard(flow_run.id)
            if self._runs_task_group is not None and not self._polling.locked():
                self._runs_task_group.start_soon(self._look_again, lane)

    async def _run_in_its_place(self, flow_run: FlowRun) -> None:
        try:
            job = InProcessJob()
            job.prepare_for_flow_run(flow_run, await self._deployment_of(flow_run))
            await self.run(flow_run, job)
        except Exception as fault:
            logger.warning("%s could not be run: %s", flow_run.name, type(fault).__name__)
            message = f"The run could not be started: {type(fault).__name__}: {fault}"
            await self._propose_crashed_state(flow_run, message)

    async def _deployment_of(self, flow_run: FlowRun) -> DeploymentResponse | None:
        """The run's deployment, as it was a few seconds ago at most."""
        if flow_run.deployment_id is None:
            return None
        asked_at, known = self._known_deployments.get(flow_run.deployment_id, (0.0, None))
        if known is None or time.monotonic() - asked_at > _DEPLOYMENT_KNOWN_FOR:
            known = await self.client.read_deployment(flow_run.deployment_id)
            self._known_deployments[flow_run.deployment_id] = time.monotonic(), known
        return known

    async def _look_again(self, lane: Lane | None) -> None:
        try:
            await self.get_and_submit_flow_runs(lane)
        except (httpx.HTTPError, PrefectException, RuntimeError):
            logger.debug("Prefect can't be reached; the next poll tries again")

    async def watch_cancellations(self) -> None:
        """Ask for ever which of our runs somebody cancelled, and tell them.

        Prefect's own observer hears of it by an event, which can be lost, and then asks every two minutes.
        """
        seen: set[UUID] = set()
        while True:
            await anyio.sleep(_WATCH_EVERY)
            await self._announce(list(seen & self._running.keys()))
            seen = set(self._running)
            told = [key for key, run in self._running.items() if not run.cancelled.is_set()]
            for flow_run_id in await cancelled_among(self._client, told):
                run = self._running.get(flow_run_id)
                if run is not None:
                    await anyio.to_thread.run_sync(run.cancelled.set)

    async def _announce(self, flow_run_ids: list[UUID]) -> None:
        """Tell Prefect that these runs have a process, once: else it makes a cancelled run Cancelled, not Cancelling.

        Most runs are over before that is worth a request.
        """
        for flow_run_id in flow_run_ids:
            run = self._running.get(flow_run_id)
            if run is not None and not run.announced and self._client is not None:
                with contextlib.suppress(httpx.HTTPError, PrefectException, RuntimeError):
                    await self.client.update_flow_run(flow_run_id, infrastructure_pid=str(os.getpid()))
                    run.announced = True

    async def watch_queues(self) -> None:
        """Look for ever which queues the pool has: runs in one that a maintainer made are begun as small ones."""
        others = set[str]().union(*(queues for lane, queues in self._queues.items() if lane is not Lane.SMALL))
        while True:
            try:
                there = await self.client.read_work_queues(work_pool_name=self._work_pool_name)
                self._queues[Lane.SMALL] = {queue.name for queue in there} - others or self._queues[Lane.SMALL]
            except (httpx.HTTPError, PrefectException, RuntimeError):
                logger.debug("Prefect can't be asked for its queues; asking again later")
            await anyio.sleep(_QUEUES_EVERY)

    async def hand_back_runs(self) -> None:
        """Let Prefect see that what still hangs here is over: its jobs have been handed back."""
        for flow_run_id in list(self._running):
            state: State[Any] = Cancelled(name="HandedBack", message="The worker was asked to end.")
            with contextlib.suppress(httpx.HTTPError, PrefectException, RuntimeError):
                await self.client.set_flow_run_state(flow_run_id, state, force=True)
