"""What every use case needs to know: the house it works in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from readvault.config import Settings
from readvault.db.engine import Sessions
from readvault.domain.errors import BadRequest
from readvault.domain.organism import Organism
from readvault.domain.organism.loaded import LiveOrganisms, OrganismSet
from readvault.ports import ForeignStores, Orchestrator, ReadStore


@dataclass(frozen=True, slots=True)
class House:
    """The database, the store, the starter of jobs and the configuration of one instance."""

    sessions: Sessions
    store: ReadStore
    orchestrator: Orchestrator
    organisms: Mapping[str, Organism]
    settings: Settings
    second_store: ReadStore | None = None
    """Another bucket with copies of what is released, where there is one."""
    foreign: ForeignStores | None = None
    """Submitters' own stores, where the instance pulls from them."""

    def steady(self) -> House:
        """This house with the organisms as they are now: for one request or one job, from its start to its end."""
        return replace(self, organisms=self.organisms.now) if isinstance(self.organisms, LiveOrganisms) else self

    def digest_of(self, organism: str) -> str:
        """What the organism's configuration is, as a digest; an empty text where nobody computed one."""
        now = self.steady().organisms
        return now.digests.get(organism, "") if isinstance(now, OrganismSet) else ""

    def organism(self, name: str) -> Organism:
        """The organism of that name; raises BadRequest in Loculus's words."""
        try:
            return self.organisms[name]
        except KeyError:
            possible = ", ".join(self.organisms)
            raise BadRequest(f"Invalid organism: {name}, possible values are: [{possible}]") from None
