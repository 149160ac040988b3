"""The process around Prefect's worker: its environment, its registration, its orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable

import anyio
import anyio.to_thread
import prefect
from prefect.context import refresh_global_settings_context

from readvault.adapters.prefect_deployments import keep_registered, register
from readvault.adapters.prefect_worker import TYPE, InProcessWorker
from readvault.adapters.processes import announce_ready
from readvault.config import Settings
from readvault.domain.errors import NotReady
from readvault.domain.lanes import Lane

logger = logging.getLogger(__name__)

TRIED = "3.8.8"
"""The Prefect that the tests run. Parts of another one that ours stand on may have changed without an error."""
POLL_EVERY = 1.0
HOUSEKEEPING_PLACES = 2
"""Runs that go through all that is stored, side by side: one may take hours. They wait for S3 nearly all the time."""
ENDS_WITHIN = 10.0
"""Seconds that runs get to end after they were told to: a request to S3 may hang for minutes."""
TELLS_WITHIN = 3.0
_RETRY_AFTER = 2.0


def run_worker(
    settings: Settings,
    *,
    on_drain: Callable[[], None] | None = None,
) -> bool:
    """Run flows until SIGTERM or Ctrl-C; then take no more, and return whether all that ran has ended.

    Jobs get `worker.drain_seconds` to end by themselves; then `on_drain` is called, which should end them.
    What hangs even then is given up: the caller should hand its jobs back and end the process.
    Registers the work pool and the deployments first. A Prefect server that is down is waited for.
    """
    configure_prefect(settings)
    tell_of_another_prefect()
    return asyncio.run(_run_until_stopped(settings, on_drain))


def tell_of_another_prefect() -> None:
    """Log a warning where the installed Prefect isn't the one that readvault was tried with."""
    if prefect.__version__ != TRIED:
        logger.warning("Prefect %s is installed; this readvault was tried with %s", prefect.__version__, TRIED)


async def _run_until_stopped(settings: Settings, on_drain: Callable[[], None] | None) -> bool:
    ended = True
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):  # set even where a shell made us ignore them
        loop.add_signal_handler(number, stop.set)
    while not stop.is_set():
        worker = InProcessWorker(
            work_pool_name=settings.prefect.work_pool,
            name=f"{socket.gethostname()}-{os.getpid()}",
            places={
                Lane.SMALL: settings.worker.concurrency,
                Lane.LARGE: settings.worker.large_concurrency,
                Lane.HOUSEKEEPING: HOUSEKEEPING_PLACES,
            },
        )
        # Tasks of asyncio, not of anyio: anyio looks for ever for the origin of the cancellation of Prefect's
        # worker, whose errors name each other as their context.
        working, stopping = asyncio.create_task(_work(worker, settings)), asyncio.create_task(stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            worker.drain()
            ended = await _let_end(worker, settings.worker.drain_seconds, on_drain)
        stopping.cancel()
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
    return ended


async def _work(worker: InProcessWorker, settings: Settings) -> None:
    """Register, then poll, until cancelled. What ends it otherwise is logged: it is begun anew."""
    what = (TYPE, InProcessWorker.get_default_base_job_template())
    try:
        await register(settings.prefect, *what)
        announce_ready()
        beside = [
            asyncio.create_task(keep_registered(settings.prefect, *what, worker.missed)),
            asyncio.create_task(worker.watch_cancellations()),
            asyncio.create_task(worker.watch_queues()),
        ]
        try:
            await worker.start(printer=lambda *_: None)
        finally:
            for task in beside:
                task.cancel()
    except NotReady:
        raise
    except Exception as fault:
        logger.warning("Prefect can't be reached (%s); trying again", type(fault).__name__)
        await anyio.sleep(_RETRY_AFTER)


async def _let_end(worker: InProcessWorker, grace: float, on_drain: Callable[[], None] | None) -> bool:
    """Wait for what runs, with less and less patience; whether all of it has ended."""
    await _wait_for(worker, grace)
    if on_drain is not None:
        await anyio.to_thread.run_sync(on_drain)
    await _wait_for(worker, ENDS_WITHIN)
    if worker.running:
        logger.warning("%d runs hang and are given up", worker.running)
        with anyio.move_on_after(TELLS_WITHIN):
            await worker.hand_back_runs()
    return not worker.running


async def _wait_for(worker: InProcessWorker, seconds: float) -> None:
    with anyio.move_on_after(seconds):
        while worker.running:
            await anyio.sleep(0.05)


def configure_prefect(settings: Settings) -> None:
    """Point Prefect at its server by the environment: threads of Prefect's own read no other settings."""
    chosen = settings.prefect
    if chosen.api_url is None:
        raise NotReady("prefect.api_url is not set (READVAULT_PREFECT__API_URL)")
    os.environ["PREFECT_API_URL"] = chosen.api_url
    if chosen.auth_string is not None:
        os.environ["PREFECT_API_AUTH_STRING"] = chosen.auth_string.get_secret_value()
    os.environ.setdefault("PREFECT_HOME", str((settings.data_dir / "prefect").absolute()))
    os.environ.setdefault("PREFECT_WORKER_QUERY_SECONDS", str(POLL_EVERY))
    os.environ.setdefault("PREFECT_WORKER_ENABLE_CANCELLATION", "false")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    refresh_global_settings_context()
