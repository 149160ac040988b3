"""What a worker works with: the organisms that it is ready for, and the nursery that has their host indexes."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from readvault.domain.errors import NotReady, NurseryDied
from readvault.domain.lanes import Lane
from readvault.domain.organism import Organism
from readvault.host_index_readiness import EXTERNAL, organism_readiness
from readvault.nursery import Nursery
from readvault.pipeline import Hands
from readvault.reads.sample import Sample
from readvault.services.house import House
from readvault.stopping import Stop, current_run

logger = logging.getLogger(__name__)

Index = tuple[Path | None, str | None]
"""A host index file and its pinned SHA-256 (hexadecimal)."""


class Equipment:
    """The organisms that can be processed here, and the nursery with the indexes that they need."""

    def __init__(self, house: House) -> None:
        self.house = house
        self._stopping = Stop()
        self._changing = threading.Lock()
        self.readiness = organism_readiness(house.settings, house.organisms)
        self.ready = _ready_of(self.readiness)
        self._loaded = {organism: house.organisms[organism] for organism in self.ready}
        self._cannot_load: set[Index] | None = None
        self.nursery = self._new_nursery(self._loaded)
        self._former: weakref.WeakSet[Nursery] = weakref.WeakSet()

    def reload(self, organisms: Mapping[str, Organism]) -> None:
        """Process these organisms from now on; another nursery is started when they need other host indexes.

        It starts beside the one that is there, so for a while there is memory for both: jobs that run end
        in the old one, new ones begin in the new one. If it doesn't start, what was ready and needs no
        other index is processed as before.
        """
        with self._changing:
            readiness = organism_readiness(self.house.settings, organisms)
            loaded = {name: organisms[name] for name in _ready_of(readiness)}
            if self._indexes(loaded) != self._indexes(self._loaded) and not self._replace_nursery(loaded):
                return
            for name in sorted(readiness):
                if readiness[name] != self.readiness.get(name, "unknown"):
                    self._tell(name, readiness[name])
            self.readiness, self._loaded, self.ready = readiness, loaded, frozenset(loaded)

    def look_at_indexes(self) -> None:
        """Leave the jobs of an organism alone while its host index is gone or isn't the pinned one any more.

        They would fail one by one until each needs attention. An organism whose index has come meanwhile
        is processed from then on.
        """
        organisms = dict(self.house.organisms)
        reasons = organism_readiness(self.house.settings, organisms)
        came = {name: organisms[name] for name in _ready_of(reasons) - self._loaded.keys()}
        if came and self._cannot_load != self._indexes({**self._loaded, **came}):
            self.reload(organisms)
            return
        reasons = organism_readiness(self.house.settings, self._loaded)
        ready = _ready_of(reasons)
        for organism in sorted(self.ready - ready):
            logger.error("nothing of organism %s is processed here any more: %s", organism, reasons[organism])
        for organism in sorted(ready - self.ready):
            logger.info("organism %s is processed here again", organism)
        self.ready = ready

    def ready_now(self, organisms: Mapping[str, Organism]) -> frozenset[str]:
        """Those of the ready organisms whose host index, as they are now, is the one that the nursery has."""
        return frozenset(
            name
            for name in self.ready
            if name not in self._loaded
            or (name in organisms and self._index(organisms[name]) == self._index(self._loaded[name]))
        )

    @contextmanager
    def _child(self, sample: Sample) -> Iterator[Hands]:
        """A child of the nursery for a job of this thread's run; who cancels the run kills it."""
        run = current_run()
        gently: dict[str, Any] = {"gently": True} if run.lane is Lane.LARGE else {}
        with ExitStack() as stack:
            while True:
                nursery = self.nursery
                try:
                    child = stack.enter_context(nursery.child(sample, **gently))
                    break
                except NurseryDied:
                    if nursery is self.nursery:  # else another one has come in its place
                        raise
            stack.enter_context(run.cancelled.calls(child.cancel))
            yield child

    def _end_children(self) -> None:
        """End the nursery, and those before it in which jobs may still be under way."""
        for nursery in (self.nursery, *self._former):
            nursery.stop()

    def _tell(self, organism: str, reason: str | None) -> None:
        if reason is None or reason == EXTERNAL:
            logger.info("organism %s: %s", organism, reason or "is processed here")
        else:
            logger.error("nothing of organism %s is processed here: %s", organism, reason)

    def _replace_nursery(self, loaded: Mapping[str, Organism]) -> bool:
        following = self._new_nursery(loaded)
        try:
            following.start()
        except NotReady as fault:
            logger.error("the nursery with the changed host indexes is not there, the old one stays: %s", fault)
            self._cannot_load = self._indexes(loaded)
            return False
        former, self.nursery = self.nursery, following
        self._former.add(former)
        former.retire()
        if self._stopping.is_set():
            following.stop()
        return True

    def _new_nursery(self, loaded: Mapping[str, Organism]) -> Nursery:
        paths = {name: self.house.settings.host_index(rules) for name, rules in loaded.items()}
        return Nursery(self.house.settings.worker, {name: path for name, path in paths.items() if path is not None})

    def _indexes(self, organisms: Mapping[str, Organism]) -> set[Index]:
        return {self._index(rules) for rules in organisms.values()}

    def _index(self, rules: Organism) -> Index:
        return self.house.settings.host_index(rules), rules.pipeline.dehumanize.sha256


def _ready_of(readiness: Mapping[str, str | None]) -> frozenset[str]:
    return frozenset(organism for organism, reason in readiness.items() if reason is None)
