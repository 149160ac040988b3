"""Everything that Prefect must know of us, put there from a command line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from prefect.client.orchestration import PrefectClient, get_client

from readvault.adapters import prefect_automations, prefect_deployments
from readvault.adapters.prefect_worker import TYPE, InProcessWorker
from readvault.adapters.prefect_worker_process import configure_prefect
from readvault.config import Settings


def set_up(
    settings: Settings,
    *,
    notify: str | None,
    stuck_hours: float,
    standstill_minutes: float,
    other_pools: Sequence[str] = (),
) -> dict[str, str]:
    """Register pool and deployments as a worker does, and install the alarms; what was done, by name.

    Alarms watch our pool, the one for huge jobs where there is one, and `other_pools`. Raises BadRequest for an
    unknown block, NotReady without an address, and whatever Prefect's client raises when it can't be reached.
    """
    alarms = prefect_automations.described_automations(
        watched(settings, other_pools), stuck_hours=stuck_hours, standstill_minutes=standstill_minutes
    )

    async def everything(client: PrefectClient) -> dict[str, str]:
        done = await prefect_automations.install(client, alarms, notify)
        await prefect_deployments.register(settings.prefect, TYPE, InProcessWorker.get_default_base_job_template())
        return {**done, f"work pool {settings.prefect.work_pool}": "is there, with its deployments"}

    return _with_client(settings, everything)


def watched(settings: Settings, other_pools: Sequence[str] = ()) -> list[str]:
    """The work pools whose runs raise alarms, each once."""
    ours = (settings.prefect.work_pool, settings.prefect.huge_work_pool, *other_pools)
    return list(dict.fromkeys(pool for pool in ours if pool is not None))


def remove_alarms(settings: Settings) -> dict[str, str]:
    """Remove the alarms, and nothing else; what was done, by name."""
    return _with_client(settings, prefect_automations.uninstall)


def _with_client(settings: Settings, what: Callable[[PrefectClient], Awaitable[dict[str, str]]]) -> dict[str, str]:
    configure_prefect(settings)

    async def do() -> dict[str, str]:
        async with get_client() as client:
            return await what(client)

    return asyncio.run(do())
