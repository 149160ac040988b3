"""The composition root: the only place that chooses real things."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from typing import Literal

from readvault.adapters.foreign_s3 import ForeignS3
from readvault.adapters.inline_orchestrator import NoOrchestrator
from readvault.adapters.prefect_orchestrator import PrefectOrchestrator
from readvault.adapters.s3 import S3Store
from readvault.adapters.s3_probe import refuse_anonymous
from readvault.config import S3Credentials, S3Settings, Settings
from readvault.db.engine import Sessions, create_engine
from readvault.domain.erasures import BUCKET, SECOND
from readvault.domain.organism.loaded import LiveOrganisms, OrganismSet
from readvault.host_index_readiness import organism_readiness
from readvault.organisms import loading
from readvault.organisms.watch import OrganismWatch
from readvault.ports import ForeignStores, Orchestrator, ReadStore
from readvault.services.house import House
from readvault.services.pulls.referenced_store import StoreWithReferenced
from readvault.worker.house import WorkerHouse

logger = logging.getLogger(__name__)

__all__ = [
    "house",
    "look_before_start",
    "maintainer_stores",
    "office",
    "organism_readiness",
    "organisms",
    "refuse_open_store",
    "settings",
    "watch",
    "worker_house",
]


@functools.cache
def settings() -> Settings:
    """The settings of this process, from its environment."""
    return Settings()


def organisms(chosen: Settings) -> OrganismSet:
    """All organisms of the instance; `demo` among them only when it was asked for."""
    return loading.load(chosen)


def house(chosen: Settings, orchestrator: Orchestrator | None = None) -> House:
    """The house with its real database, bucket and orchestrator."""
    sessions = Sessions(create_engine(chosen.database))
    foreign = _foreign(chosen)
    return House(
        sessions=sessions,
        store=StoreWithReferenced(S3Store(chosen.s3), sessions, chosen.pulls, foreign),
        orchestrator=orchestrator or _orchestrator(chosen),
        organisms=LiveOrganisms(organisms(chosen), time.time()),
        settings=chosen,
        second_store=_second_store(chosen),
        foreign=foreign,
    )


def office(chosen: Settings) -> House:
    """A house for commands about people, groups and released entries: nothing is processed in it, no organism read."""
    sessions = Sessions(create_engine(chosen.database))
    return House(
        sessions=sessions,
        store=StoreWithReferenced(S3Store(chosen.s3), sessions, chosen.pulls, _foreign(chosen)),
        orchestrator=NoOrchestrator(),
        organisms={},
        settings=chosen,
        second_store=_second_store(chosen),
    )


def watch(house: House, on_change: Callable[[OrganismSet], object] = lambda _: None) -> OrganismWatch:
    """What keeps the organisms of a house as their files are; it has yet to be started."""
    assert isinstance(house.organisms, LiveOrganisms)
    return OrganismWatch(house, house.organisms, on_change=on_change)


@functools.cache
def worker_house() -> WorkerHouse:
    """The worker of this process: its house, its nursery, its jobs.

    In a process that isn't ours, a flow run of a stock Prefect worker or of a pod, it begins with the
    first job that is asked of it and ends with the process.
    """
    chosen = settings()
    return WorkerHouse(house(chosen), look_first=functools.partial(look_before_start, chosen, "worker"))


def maintainer_stores(chosen: Settings, keys: Mapping[str, S3Credentials]) -> dict[str, ReadStore]:
    """The buckets (`bucket`, `second`) as a maintainer reaches them with own keys: for one command, never kept."""
    found: dict[str, ReadStore] = {}
    if BUCKET in keys:
        found[BUCKET] = S3Store(chosen.s3.model_copy(update={"worker": keys[BUCKET]}))
    second = chosen.s3.second
    if SECOND in keys and second is not None:
        named = {"endpoint": second.endpoint, "region": second.region, "bucket": second.bucket}
        found[SECOND] = S3Store(S3Settings(**named, worker=keys[SECOND]))
    return found


def refuse_open_store(chosen: Settings) -> None:
    """See that S3 lets nobody in without credentials; raises NotReady when it does."""
    refuse_anonymous(chosen.s3.endpoint, chosen.s3.bucket)


def look_before_start(chosen: Settings, process: Literal["api", "worker"]) -> None:
    """See that a process may start; raises NotReady with everything that stands against it.

    Production mode demands all of its promises. Without it only a store that is open to everybody is
    refused, and the log says what production would refuse.
    """
    from readvault.doctor import production

    if chosen.production:
        production.refuse_production(chosen, process)
    elif against := production.would_be_refused(chosen, process):
        logger.warning("THIS IS NOT PRODUCTION: it would be refused, as %s", "; ".join(against))
    refuse_open_store(chosen)


def _orchestrator(chosen: Settings) -> Orchestrator:
    if chosen.orchestrator == "prefect" and chosen.prefect.api_url:
        return PrefectOrchestrator(chosen)
    return NoOrchestrator()


def _foreign(chosen: Settings) -> ForeignStores | None:
    return ForeignS3(chosen.pulls) if chosen.pulls.enabled else None


def _second_store(chosen: Settings) -> ReadStore | None:
    second = chosen.s3.second
    if second is None:
        return None
    named = {"endpoint": second.endpoint, "region": second.region, "bucket": second.bucket, "worker": second.worker}
    return S3Store(S3Settings(**named))
