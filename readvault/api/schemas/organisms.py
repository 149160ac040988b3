"""The organisms of a process as maintainers see them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from readvault.domain.organism import Organism
from readvault.domain.organism.loaded import LiveOrganisms, OrganismSet, Standing
from readvault.organisms.effective import by_content


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class OneOrganism(_Part):
    """An organism with all keys; files are told by name and SHA-256."""

    digest: str
    pipeline_version: int
    configuration: dict[str, Any]


class Organisms(_Part):
    """What counts in this process since when, and why what lies in the folder now does not."""

    digest: str
    since: datetime | None
    refused: tuple[str, ...]
    refused_at: datetime | None
    warnings: tuple[str, ...]
    without_file: tuple[str, ...]
    organisms: dict[str, OneOrganism]

    @classmethod
    def of(cls, organisms: Mapping[str, Organism]) -> Organisms:
        live = organisms if isinstance(organisms, LiveOrganisms) else None
        now = live.now if live else OrganismSet(organisms)
        standing = live.standing if live else Standing(0)
        return cls(
            digest=now.digest,
            since=_moment(standing.since),
            refused=standing.refused,
            refused_at=_moment(standing.refused_at),
            warnings=standing.warnings,
            without_file=standing.without_file,
            organisms={
                name: OneOrganism(
                    digest=now.digests.get(name, ""),
                    pipeline_version=each.pipeline.version,
                    configuration=by_content(each),
                )
                for name, each in now.items()
            },
        )


def _moment(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
