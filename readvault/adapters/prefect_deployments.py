"""Puts what `prefect.yaml` describes into Prefect, so that one file says what can be started, and when."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions, DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from pydantic import BaseModel, ConfigDict

from readvault.config import PrefectSettings
from readvault.domain.errors import NotReady
from readvault.domain.lanes import Queue

logger = logging.getLogger(__name__)

FILE = "prefect.yaml"
HUGE_ENTRYPOINT = "flows.process_submission.process_submission"
_VARIABLE = re.compile(r"{{\s*\$(\w+)\s*}}")
_PRIORITIES = {
    Queue.DEFAULT: 1,
    Queue.LARGE: 2,
    Queue.HOUSEKEEPING: 3,
    Queue.BACKGROUND: 10,
    Queue.LARGE_BACKGROUND: 11,
}
"""Less goes first. A delivery may be faster than this and make a queue: Prefect then gives it the next free number."""


class _Entry(BaseModel):
    """The part of Prefect's deployment file that we use; anything else in it is a mistake."""

    model_config = ConfigDict(extra="forbid")


class Schedule(_Entry):
    """When a deployment starts by itself."""

    slug: str
    cron: str
    timezone: str = "UTC"
    parameters: dict[str, Any] = {}
    """In place of the deployment's own, which the form shows."""


class Concurrency(_Entry):
    """How many runs of a deployment there may be at once."""

    limit: int
    collision_strategy: ConcurrencyLimitStrategy


class Deployment(_Entry):
    """One entry under `deployments`, and the steps that all of them begin with."""

    name: str
    entrypoint: str
    description: str
    tags: list[str] = []
    parameters: dict[str, Any] = {}
    schedules: list[Schedule] = []
    concurrency_limit: Concurrency | None = None
    work_pool: dict[str, str]
    pull: list[dict[str, dict[str, str]]] = []

    @property
    def queue(self) -> str:
        """The queue of the pool in which its runs wait unless they say otherwise."""
        return self.work_pool.get("work_queue_name", Queue.DEFAULT)


def described_deployments(path: Path | None = None) -> list[Deployment]:
    """What `prefect.yaml` describes. Raises NotReady when it isn't there, pydantic's error when it is wrong."""
    content = yaml.safe_load((path or _installed_file()).read_text(encoding="utf-8"))
    return [Deployment.model_validate({"pull": content["pull"], **entry}) for entry in content["deployments"]]


def with_environment[T](template: T) -> T | None:
    """Fill in `{{ $NAME }}` from the environment, as `prefect deploy` does; None where a variable isn't set.

    >>> with_environment([{"directory": "{{ $NOBODY_SETS_THIS }}"}]), with_environment({"limit": 1})
    (None, {'limit': 1})
    """
    if isinstance(template, str):
        names = _VARIABLE.findall(template)
        known = all(name in os.environ for name in names)
        return _VARIABLE.sub(lambda found: os.environ[found[1]], template) if known else None  # type: ignore[return-value]
    if isinstance(template, list):
        values = [with_environment(value) for value in template]
        return None if None in values else values  # type: ignore[return-value]
    if isinstance(template, dict):
        filled = {key: with_environment(value) for key, value in template.items()}
        return None if None in filled.values() else filled  # type: ignore[return-value]
    return template


async def register(
    settings: PrefectSettings, kind: str, template: dict[str, Any], *, only_missing: bool = False
) -> None:
    """Make Prefect know our work pool and deployments."""
    async with get_client() as client:
        await ensure_work_pool(client, settings.work_pool, kind, template)
        await ensure_work_queues(client, settings.work_pool)
        await register_deployments(client, settings.work_pool, only_missing=only_missing)
        if settings.huge_work_pool is not None:
            await register_huge(client, settings.huge_work_pool, only_missing=only_missing)


async def keep_registered(
    settings: PrefectSettings, kind: str, template: dict[str, Any], missed: asyncio.Event
) -> None:
    """Put back, until cancelled, what Prefect has lost since, be it with its whole database.

    Nobody else would, and jobs would wait for ever for a deployment to be delivered by. It looks every so
    often, and at once when something was `missed`.
    """
    described = described_deployments()
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(missed.wait(), settings.register_every)
        missed.clear()
        try:
            if settings.huge_work_pool is not None or not await _are_there(described, settings.work_pool):
                await register(settings, kind, template, only_missing=True)
        except Exception as fault:
            logger.debug("Prefect can't be asked for its deployments (%s); asking again later", type(fault).__name__)


async def _are_there(described: list[Deployment], work_pool: str) -> bool:
    """Whether the pool has its queues and all deployments: two questions, where `register` asks for each of them."""
    named = WorkPoolFilter(name=WorkPoolFilterName(any_=[work_pool]))
    async with get_client() as client:
        found = await client.read_deployments(work_pool_filter=named)
        there = {(each.name, each.entrypoint) for each in found}
        if complete := there >= {(each.name, each.entrypoint) for each in described}:
            await ensure_work_queues(client, work_pool)
    return complete


async def ensure_work_pool(client: PrefectClient, name: str, kind: str, template: dict[str, Any]) -> None:
    """Make the work pool unless it is there."""
    try:
        await client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
    except ObjectAlreadyExists:
        return
    logger.info("made the work pool %s", name)


async def ensure_work_queues(client: PrefectClient, work_pool: str) -> None:
    """Make the queues of the pool that are not there; those that are keep the priority that somebody gave them."""
    there = {queue.name for queue in await client.read_work_queues(work_pool_name=work_pool)}
    for queue in Queue:
        if queue in _PRIORITIES and queue not in there:
            with contextlib.suppress(ObjectAlreadyExists):  # another worker was faster
                await client.create_work_queue(queue, priority=_PRIORITIES[queue], work_pool_name=work_pool)


async def register_deployments(
    client: PrefectClient, work_pool: str, path: Path | None = None, *, only_missing: bool = False
) -> None:
    """Register every described deployment that Prefect doesn't have in this form.

    One that is unchanged is left alone, whoever put it there: a schedule that a maintainer paused stays
    paused. With `only_missing` another form is left alone too, or workers of two versions, one being
    replaced by the other, would overwrite each other's in turn.
    """
    for described in described_deployments(path):
        await _register_if_changed(client, described, work_pool, only_missing=only_missing)


async def register_huge(client: PrefectClient, work_pool: str, *, only_missing: bool = False) -> None:
    """Register the deployment that processes one huge submission, in a work pool of any type that somebody made.

    The pool's type and template are its maker's: without the pool nothing is registered, and huge jobs
    wait among the large ones.
    """
    try:
        await client.read_work_pool(work_pool)
    except ObjectNotFound:
        (logger.debug if only_missing else logger.warning)(
            "there is no work pool %s: huge jobs are done by this worker as large ones", work_pool
        )
        return
    [usual] = [each for each in described_deployments() if each.entrypoint == HUGE_ENTRYPOINT]
    await _register_if_changed(client, usual.model_copy(update={"name": "huge"}), work_pool, only_missing=only_missing)


async def _register_if_changed(
    client: PrefectClient, described: Deployment, work_pool: str, *, only_missing: bool
) -> None:
    flow: Flow[..., Any] = load_flow_from_entrypoint(described.entrypoint, use_placeholder_flow=False)
    schema = parameter_schema(flow).model_dump(exclude_unset=True)
    version = _digest(described, schema)
    found = await _found(client, f"{flow.name}/{described.name}", work_pool)
    directory = with_environment(described.pull)
    moved = found is not None and directory is not None and found.pull_steps != directory
    if found is not None and (only_missing or (found.version == version and not moved)):
        return
    if found is not None and not moved and _is_as_described(found, described, schema):
        # `prefect deploy` put it there: from now on it is left alone, as one of ours.
        await client.update_deployment(found.id, DeploymentUpdate(version=version))
        return
    await _register(client, described, flow, schema, version, work_pool)
    logger.info("registered the deployment %s/%s", flow.name, described.name)


async def _found(client: PrefectClient, name: str, work_pool: str) -> DeploymentResponse | None:
    """The deployment as Prefect has it for this work pool, if it has."""
    try:
        found = await client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None
    return found if found.work_pool_name == work_pool else None


def _is_as_described(found: DeploymentResponse, described: Deployment, schema: dict[str, Any]) -> bool:
    """Whether a deployment has all that is described, but for the workers' directory."""
    limit, kept = described.concurrency_limit, found.global_concurrency_limit
    return (
        found.entrypoint == described.entrypoint
        and (found.work_queue_name or Queue.DEFAULT) == described.queue
        and (found.description or "").strip() == described.description.strip()
        and sorted(found.tags) == sorted(described.tags)
        and found.parameters == described.parameters
        and found.parameter_openapi_schema == schema
        and found.enforce_parameter_schema is True
        and (kept.limit if kept else None) == (limit.limit if limit else None)
        and {_of_schedule(each) for each in found.schedules} == {_of_schedule(each) for each in described.schedules}
    )


def _of_schedule(schedule: Schedule | DeploymentSchedule) -> tuple[str | None, str, str | None, str]:
    said: Any = schedule if isinstance(schedule, Schedule) else schedule.schedule
    parameters = json.dumps(schedule.parameters, sort_keys=True)
    return schedule.slug, getattr(said, "cron", ""), said.timezone, parameters


async def _register(
    client: PrefectClient,
    described: Deployment,
    flow: Flow[..., Any],
    schema: dict[str, Any],
    version: str,
    work_pool: str,
) -> None:
    limit = described.concurrency_limit
    await client.create_deployment(
        flow_id=await client.create_flow(flow),
        name=described.name,
        version=version,
        entrypoint=described.entrypoint,
        description=described.description,
        tags=described.tags,
        parameters=described.parameters,
        parameter_openapi_schema=schema,
        enforce_parameter_schema=True,
        schedules=[
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron=s.cron, timezone=s.timezone), slug=s.slug, parameters=s.parameters
            )
            for s in described.schedules
        ],
        concurrency_limit=limit.limit if limit else None,
        concurrency_options=ConcurrencyOptions(collision_strategy=limit.collision_strategy) if limit else None,
        work_pool_name=work_pool,
        work_queue_name=described.queue,
        pull_steps=with_environment(described.pull) or [],
    )


def _digest(described: Deployment, schema: dict[str, Any]) -> str:
    text = json.dumps([described.model_dump(mode="json"), schema], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _installed_file() -> Path:
    """`prefect.yaml` beside the package `flows` in a clone, inside it in an installed wheel."""
    found = importlib.util.find_spec("flows")
    for folder in found.submodule_search_locations or () if found else ():
        for candidate in (Path(folder) / FILE, Path(folder).parent / FILE):
            if candidate.is_file():
                return candidate
    raise NotReady(f"{FILE} is not beside the package flows: the installation is incomplete")
