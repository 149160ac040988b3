"""`readvault api` and `readvault worker`: the two processes of an installation."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from readvault import logs

if TYPE_CHECKING:
    from readvault.organisms.watch import OrganismWatch


def api(
    host: str = typer.Option("127.0.0.1", help="The address to listen on."),
    port: int = typer.Option(8079, help="The port to listen on."),
) -> None:
    """Serve the HTTP API and the pages."""
    import uvicorn

    from readvault import bootstrap
    from readvault.adapters.identity import identity_of
    from readvault.api.app import create_app
    from readvault.web.mounting import add_pages

    settings = bootstrap.settings()
    logs.to_stderr(settings.log_format)
    bootstrap.look_before_start(settings, "api")
    house, identity = bootstrap.house(settings), identity_of(settings)
    with _watched(bootstrap.watch(house)):
        uvicorn.run(
            add_pages(create_app(house, identity), house, identity),
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
        )


ENDS_WITHIN = 10.0
"""Seconds that jobs get to end after they were told to: a request to S3 may hang for minutes."""


@contextmanager
def _watched(watch: OrganismWatch) -> Iterator[None]:
    """Keep the organisms as their files are; SIGHUP looks at once."""
    signal.signal(signal.SIGHUP, lambda *_: watch.ask())
    watch.start()
    try:
        yield
    finally:
        watch.stop()


def worker() -> None:
    """Run jobs: claims them, processes reads in the nursery, registers versions."""
    from readvault import bootstrap

    settings = bootstrap.settings()
    logs.to_stderr(settings.log_format)
    bootstrap.look_before_start(settings, "worker")
    if settings.worker.metrics_port is not None:
        from prometheus_client import start_http_server

        from readvault.counters import REGISTRY

        start_http_server(settings.worker.metrics_port, addr="127.0.0.1", registry=REGISTRY)
    if settings.orchestrator == "prefect":
        from readvault.adapters.prefect_worker_process import run_worker

        house = bootstrap.worker_house()
        house.start()
        try:
            with _watched(bootstrap.watch(house.house, lambda found: house.reload(found))):
                ended = run_worker(settings, on_drain=house.drain)
        except BaseException:
            house.stop()
            raise
        house.end(at_once=not ended)
    else:
        run_inline()


def run_inline() -> None:
    """Run jobs in this process, without Prefect, until SIGTERM or Ctrl-C."""
    import threading

    from readvault import bootstrap
    from readvault.adapters.inline_orchestrator import InlineOrchestrator
    from readvault.adapters.processes import announce_ready
    from readvault.worker.house import WorkerHouse
    from readvault.worker.upkeep import Upkeep

    settings = bootstrap.settings()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    limits = settings.worker
    orchestrator = InlineOrchestrator(
        lambda delivery: house.run(delivery), limits.concurrency, large_concurrency=limits.large_concurrency
    )
    house = WorkerHouse(bootstrap.house(settings, orchestrator))
    house.start()
    upkeep = Upkeep(house)
    upkeep.start()
    announce_ready()
    with _watched(bootstrap.watch(house.house, lambda found: house.reload(found))):
        stop.wait()
    orchestrator.stop(limits.drain_seconds)
    house.drain()
    upkeep.stop()
    ended = orchestrator.stop(ENDS_WITHIN)  # its jobs hand themselves back; only then their scratch may go
    house.end(at_once=not ended)
