"""The organisms of a running instance: one set counts at a time, and the next takes its place in one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from readvault.domain.organism.organism import Organism


class OrganismSet(Mapping[str, Organism]):
    """Organisms by name as they were loaded together; never changes.

    `digests` (hexadecimal) say by name what each one's whole configuration is, its files among it.
    """

    def __init__(
        self, organisms: Mapping[str, Organism], digests: Mapping[str, str] = MappingProxyType({}), digest: str = ""
    ) -> None:
        self._organisms = MappingProxyType(dict(organisms))
        self.digests = MappingProxyType(dict(digests))
        self.digest = digest
        """Of everything that was read."""

    def __getitem__(self, name: str) -> Organism:
        return self._organisms[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._organisms)

    def __len__(self) -> int:
        return len(self._organisms)


@dataclass(frozen=True, slots=True)
class Standing:
    """Since when what counts does (seconds since 1970), and why what lies in the folder now does not."""

    since: float
    refused: tuple[str, ...] = ()
    refused_at: float | None = None
    warnings: tuple[str, ...] = ()
    """What maintainers should know about the last change."""
    without_file: tuple[str, ...] = ()
    """Organisms with entries that no file speaks of, since the start."""


class LiveOrganisms(Mapping[str, Organism]):
    """The set of organisms that counts now. Whoever needs the same one twice takes `now` once."""

    def __init__(self, first: OrganismSet, since: float) -> None:
        self.now = first
        self.standing = Standing(since)

    def replace(self, following: OrganismSet, since: float, warnings: tuple[str, ...] = ()) -> None:
        """Let another set count from now on."""
        self.now = following
        self.standing = Standing(since, warnings=warnings, without_file=self.standing.without_file)

    def __getitem__(self, name: str) -> Organism:
        return self.now[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.now)

    def __len__(self) -> int:
        return len(self.now)
