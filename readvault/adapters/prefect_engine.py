"""A flow run in a thread of the worker, with as few requests to Prefect's server as its states need.

Prefect's engine expects a process for each run: it opens a client, asks for what the worker knows
already, and listens to a stream of events in case somebody suspends the run. A job of a second is
dearer by that than by its work, for the server above all. What is left are the states, the tasks
and the logs, so a run looks as any other.

Engine and client are no promise of Prefect's; `tests/integration/test_prefect_worker.py` runs them
against the installed version.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
from prefect._flow_run_suspension import FlowRunSuspensionRequest
from prefect.client.base import ServerType
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, ServerDefaultResultStorage, State
from prefect.context import SyncClientContext
from prefect.exceptions import PrefectSignal
from prefect.flow_engine import FlowRunEngine
from prefect.flows import Flow
from prefect.settings import get_current_settings

from readvault.stopping import Run, running

logger = logging.getLogger(__name__)


class RunClient(SyncPrefectClient):
    """One client for all runs of a worker, from any thread; leaves out requests whose answer is known."""

    def __init__(self) -> None:
        settings = get_current_settings()
        password = settings.api.auth_string
        super().__init__(
            str(settings.api.url),
            auth_string=password.get_secret_value() if password is not None else None,
            httpx_settings={},
            server_type=ServerType.SERVER,
        )
        self._begun: dict[UUID, FlowRun] = {}
        self._guard = threading.Lock()

    def begun(self, flow_run: FlowRun) -> None:
        """Note a run as the server has it since it runs; the next question after it is answered from here."""
        with self._guard:
            self._begun[flow_run.id] = flow_run.model_copy(update={"run_count": flow_run.run_count + 1})

    def forget(self, flow_run_id: UUID) -> None:
        """Answer no question after this run from here."""
        with self._guard:
            self._begun.pop(flow_run_id, None)

    def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        """The run; once after it began without a request."""
        with self._guard:
            known = self._begun.pop(flow_run_id, None)
        return known if known is not None else super().read_flow_run(flow_run_id)

    def update_flow_run(self, flow_run_id: UUID, flow_version: str | None = None, *rest: Any, **more: Any) -> Any:
        """Change a run. Its flow's version and retries alone are no news: our flows retry by their jobs."""
        if not rest and set(more) <= {"empirical_policy"}:
            return httpx.Response(httpx.codes.NO_CONTENT)
        return super().update_flow_run(flow_run_id, flow_version, *rest, **more)

    def read_server_default_result_storage(self) -> ServerDefaultResultStorage:
        """None: our flows keep no results."""
        return ServerDefaultResultStorage()


class _Lent(SyncClientContext):
    """The worker's client for the length of a run; it stays open."""

    def __init__(self, client: RunClient) -> None:
        super(SyncClientContext, self).__init__(client=client)

    def __enter__(self) -> _Lent:
        super(SyncClientContext, self).__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super(SyncClientContext, self).__exit__(*error)


class RunEngine(FlowRunEngine[Any, Any]):
    """Prefect's engine without its listening for a suspension: our flows run to their end or are cancelled."""

    @property
    def heartbeat_seconds(self) -> None:
        """Never: a flow waits a second for that thread to end, and our leases find a dead worker sooner."""
        return

    @contextmanager
    def setup_flow_run_suspension_request(self) -> Iterator[FlowRunSuspensionRequest]:
        """Nobody asks, so nobody listens: it took a thread and a websocket for each run."""
        yield self._get_flow_run_suspension_request()

    def set_state(self, state: State[Any], force: bool = False) -> State[Any]:
        """Propose a state; what the server says."""
        agreed = super().set_state(state, force)
        if agreed.is_running() and isinstance(self.client, RunClient) and self.flow_run is not None:
            self.client.begun(self.flow_run)
        return agreed


def _run(flow: Flow[..., Any], flow_run: FlowRun, client: RunClient) -> State[Any] | None:
    """Run a flow in this thread, from its start to its final state. Raises what Prefect stops it by."""
    engine = RunEngine(flow=flow, parameters=flow_run.parameters, flow_run=flow_run)
    try:
        with _Lent(client), engine.start():
            while engine.is_running():
                with engine.run_context():
                    engine.call_flow_fn()
        return engine.state
    finally:
        client.forget(flow_run.id)


def run_to_its_end(flow: Flow[..., Any], flow_run: FlowRun, client: RunClient, work: Run) -> State[Any] | None:
    """Run a flow in this thread; its final state, or None when Prefect stopped it or got lost."""
    with running(work):
        try:
            return _run(flow, flow_run, client)
        except PrefectSignal:
            return None
        except Exception as fault:
            logger.warning("Prefect lost sight of a run (%s)", type(fault).__name__)
            return None
