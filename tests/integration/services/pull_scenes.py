"""A submitter's own server beside a house that pulls from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlmodel import col, select

from readvault.adapters.foreign_s3 import ForeignS3
from readvault.config import UrlSettings
from readvault.config.pulls import PullSettings
from readvault.db.tables import Job
from readvault.domain.status import JobKind, JobState
from readvault.ports import ForeignBucket, ForeignKeys
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.pulls import access, pulling, requests
from readvault.services.pulls.asked import PullView, WantedPull, WantedSource
from readvault.services.pulls.pulling import Pulled
from readvault.services.pulls.referenced_store import StoreWithReferenced
from readvault.services.queue.lease import Lease
from readvault.services.submission.new_entries import submit
from readvault.services.submission.writing import SubmittedEntry
from tests import foreign
from tests.foreign import HOST, Authority, Shop
from tests.houses import ALICE, tsv

PART = 64 * 2**10
"""Bytes of a part, where a test lets parts be that small."""


@dataclass
class Lab:
    """A server with `shop`, and a house that may pull from it."""

    house: House
    shop: Shop
    port: int
    group_id: int

    def url(self, path: str, query: str = "signature=right") -> str:
        """The URL of an object."""
        return f"https://{HOST}:{self.port}{path}" + (f"?{query}" if query else "")

    def asked(self, *paths: str, **told: Any) -> PullView:
        """A pull of these objects by pre-signed URLs."""
        sources = tuple(WantedSource(self.url(path), **told) for path in paths)
        return requests.request_pull(self.house, ALICE, self.group_id, WantedPull(sources))

    def referenced(self, *keys: str, access_key: str = "LAB", **told: Any) -> PullView:
        """A pull that leaves these objects of bucket `lab` where they are."""
        bucket = self.bucket(access_key)
        wanted = WantedPull(tuple(WantedSource(key, **told) for key in keys), bucket, by_reference=True)
        return requests.request_pull(self.house, ALICE, self.group_id, wanted)

    def bucket(self, access_key: str = "LAB", **keys: Any) -> ForeignBucket:
        """Bucket `lab` with an access key."""
        return ForeignBucket(f"https://{HOST}:{self.port}", "x", "lab", ForeignKeys(access_key, "secret", **keys))

    def job(self) -> Job:
        """The newest job that imports."""
        with self.house.sessions.read() as session:
            query = select(Job).where(Job.kind == JobKind.IMPORT.value).order_by(col(Job.created_at).desc())
            return session.exec(query.limit(1)).one()

    def work(self, house: House | None = None) -> Pulled:
        """What a worker does with the newest job, from its claim on."""
        mine = house or self.house
        claim = jobs.claim(mine, self.job().id, "worker", ())
        assert claim is not None
        with Lease(mine, claim) as lease:
            try:
                return pulling.pull(mine, claim, lease)
            except Exception as fault:
                if self.job().state == JobState.RUNNING:
                    jobs.give_up(mine, claim, str(fault), counted=True)
                raise

    def due(self) -> None:
        """Let the job be claimed at once."""
        with self.house.sessions.begin() as session:
            session.get_one(Job, self.job().id).not_before = 0

    def seen(self, pull_id: str) -> PullView:
        """The pull as its group sees it."""
        return access.look_up(self.house, ALICE, pull_id)


@contextmanager
def lab(house: House, authority: Authority, group_id: int, shop: Shop | None = None, **changes: Any) -> Iterator[Lab]:
    """A server, and the house with small parts and settings that let it in."""
    shop = shop or Shop()
    with foreign.https_server(authority, shop) as port:
        chosen: PullSettings = foreign.settings(port, **changes)
        urls = UrlSettings(part_size=PART)
        settings = house.settings.model_copy(update={"pulls": chosen, "urls": urls})
        store = ForeignS3(chosen, foreign.egress(chosen, authority))
        yield Lab(replace(house, settings=settings, foreign=store), shop, port, group_id)


def seen_through(scene: Lab, **changes: Any) -> Lab:
    """The scene, whose house sees referenced files in its store; with changed settings of pulls."""
    house = scene.house
    settings = house.settings.model_copy(update={"pulls": house.settings.pulls.model_copy(update=changes)})
    own = house.store._own if isinstance(house.store, StoreWithReferenced) else house.store
    store = StoreWithReferenced(own, house.sessions, settings.pulls, house.foreign)
    return replace(scene, house=replace(house, store=store, settings=settings))


def submitted(scene: Lab, row: dict[str, str]) -> SubmittedEntry:
    """An entry of this row of metadata, with what every entry needs."""
    full = {"id": "s", "date": "2024-01-01", "platform": "ILLUMINA", **row}
    told: dict[str, Any] = {"group_id": scene.group_id, "metadata": tsv(full), "metadata_name": "metadata.tsv"}
    (made,) = submit(scene.house, ALICE, "sars-cov-2", **told)
    return made
