"""Probes of Prefect: is it there, of the tried version, closed to strangers, and does it know our deployments?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import httpx

from readvault.config import Settings
from readvault.doctor.findings import Finding, Level

TIMEOUT = 5.0
"""Seconds for one request."""
LATELY = 90.0
"""Seconds since a worker must have shown itself: they do every 30."""


@dataclass(frozen=True, slots=True)
class Server:
    """Prefect's API, asked with and without its password."""

    known: httpx.Client
    stranger: httpx.Client


def password(settings: Settings) -> Iterator[Finding]:
    """Whether we have a password for Prefect, as the settings tell."""
    if _is_used(settings) and settings.prefect.auth_string is None:
        advice = "Give its server and us the same PREFECT_SERVER_API_AUTH_STRING (READVAULT_PREFECT__AUTH_STRING)."
        message = "we have no password for it: whoever reaches it can run code on the workers"
        yield Finding("prefect", Level.WARN, message, advice, refused=True)


def closed(settings: Settings, *, transport: httpx.BaseTransport | None = None) -> Iterator[Finding]:
    """Whether Prefect asks for its password. One that can't be reached says nothing: jobs wait for it."""
    if _is_used(settings):
        yield from _asked(settings, lambda server: iter([_strangers(server)]), transport)


def prefect(settings: Settings, *, transport: httpx.BaseTransport | None = None) -> Iterator[Finding]:
    """Look at Prefect through its API; nothing is changed."""
    if not _is_used(settings):
        yield Finding("prefect", Level.OK, "jobs run in the worker, without Prefect")
        return
    yield from password(settings)
    yield from _asked(settings, lambda server: _told(settings, server), transport)


def _is_used(settings: Settings) -> bool:
    return settings.orchestrator == "prefect" and settings.prefect.api_url is not None


def _asked(
    settings: Settings, ask: Callable[[Server], Iterator[Finding]], transport: httpx.BaseTransport | None
) -> Iterator[Finding]:
    """What it answers; that it can't be asked is a finding."""
    said = settings.prefect.auth_string
    user, _, secret = said.get_secret_value().partition(":") if said else ("", "", "")
    auth = (user, secret) if user else None
    base = str(settings.prefect.api_url).rstrip("/")
    with (
        httpx.Client(base_url=base, auth=auth, timeout=TIMEOUT, transport=transport) as known,
        httpx.Client(base_url=base, timeout=TIMEOUT, transport=transport) as stranger,
    ):
        try:
            yield from ask(Server(known, stranger))
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as fault:
            advice = "Jobs wait until it is back; none is lost. Start it, or correct READVAULT_PREFECT__API_URL."
            yield Finding("prefect", Level.FAIL, f"it can't be asked ({type(fault).__name__})", advice)


def _told(settings: Settings, server: Server) -> Iterator[Finding]:
    answer = server.known.get("/admin/version")
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        advice = "READVAULT_PREFECT__AUTH_STRING must be its PREFECT_SERVER_API_AUTH_STRING."
        yield Finding("prefect", Level.FAIL, "it refuses our password", advice, refused=True)
        return
    has, tried = str(answer.raise_for_status().json()), version("prefect")
    if has == tried:
        yield Finding("prefect", Level.OK, f"Prefect {has} answers")
    else:
        advice = f"Run its server with prefect=={tried} (requirements.lock)."
        yield Finding("prefect", Level.WARN, f"its server is {has}, our part of it {tried}", advice)
    yield _strangers(server)
    yield from _settings(settings, server)
    yield from _pool(settings, server)
    yield _deployments(server)


def _strangers(server: Server) -> Finding:
    """It must answer 401 to whoever shows no password; else its UI and all workers are open."""
    status = server.stranger.get("/admin/version").status_code
    if status == httpx.codes.UNAUTHORIZED:
        return Finding("prefect", Level.OK, "it refuses strangers")
    message = f"it answers {status} to a stranger (401 expected): whoever reaches it can run code on the workers"
    return Finding("prefect", Level.WARN, message, "Set PREFECT_SERVER_API_AUTH_STRING on its server.", refused=True)


def _settings(settings: Settings, server: Server) -> Iterator[Finding]:
    said: dict[str, Any] = server.known.get("/admin/settings").raise_for_status().json().get("server", {})
    if said.get("analytics_enabled"):
        advice = "Set PREFECT_SERVER_ANALYTICS_ENABLED=false on its server."
        yield Finding("prefect", Level.WARN, "it tells its makers about itself", advice)
    # The address of its database is hidden, its driver isn't.
    driver = str((said.get("database") or {}).get("driver") or "")
    if driver.startswith("postgresql"):
        yield Finding("prefect", Level.OK, "its database is PostgreSQL")
    elif settings.production or driver:
        message = (
            "its database is SQLite" if driver else "which database it has isn't told, SQLite unless one was given"
        )
        advice = "Give it PostgreSQL (PREFECT_SERVER_DATABASE_DRIVER and …_HOST, …_NAME): SQLite locks under load."
        yield Finding("prefect", Level.WARN, message, advice)


def _pool(settings: Settings, server: Server) -> Iterator[Finding]:
    name = settings.prefect.work_pool
    pool = server.known.get(f"/work_pools/{name}")
    if pool.status_code == httpx.codes.NOT_FOUND:
        message = f"it has no work pool {name}"
        yield Finding("prefect", Level.WARN, message, "Start a worker (`readvault worker`): it makes the pool.")
        return
    if pool.raise_for_status().json().get("is_paused"):
        yield Finding("prefect", Level.WARN, f"the work pool {name} is paused", "Resume it: no job is started.")
    workers = server.known.post(f"/work_pools/{name}/workers/filter", json={}).raise_for_status().json()
    since = [_age(worker["last_heartbeat_time"]) for worker in workers if worker.get("last_heartbeat_time")]
    lately = sum(age < LATELY for age in since)
    if lately:
        yield Finding("prefect", Level.OK, f"{lately} workers showed themselves lately")
    else:
        message = f"no worker showed itself in the last {LATELY:.0f} s"
        yield Finding("prefect", Level.WARN, message, "Start one (`readvault worker`): jobs wait for it.")


def _deployments(server: Server) -> Finding:
    from readvault.adapters.prefect_deployments import described_deployments

    names = [f"{each.entrypoint.rpartition('.')[2].replace('_', '-')}/{each.name}" for each in described_deployments()]
    lacking = [
        name for name in names if server.known.get(f"/deployments/name/{name}").status_code == httpx.codes.NOT_FOUND
    ]
    if lacking:
        message = f"it lacks the deployments {', '.join(lacking)}"
        return Finding("prefect", Level.WARN, message, "A worker that starts puts them there.")
    return Finding("prefect", Level.OK, f"all {len(names)} deployments are there")


def _age(moment: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
