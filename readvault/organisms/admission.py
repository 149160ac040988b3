"""Which other set of organisms may take the place of the one that counts, while the instance runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from readvault.config import Settings
from readvault.domain.errors import ReadvaultError
from readvault.domain.organism import Organism
from readvault.domain.organism.loaded import OrganismSet
from readvault.organisms.checking import check
from readvault.organisms.differences import difference
from readvault.organisms.effective import by_content
from readvault.reads import references
from readvault.services.house import House
from readvault.services.housekeeping import organisms_in_use


def mistakes(settings: Settings) -> list[str]:
    """Every mistake in the organism files of the instance."""
    return [str(finding) for finding in check([settings.organisms_dir], settings, doubts=False).errors]


def refusals(house: House, before: Mapping[str, Organism], after: Mapping[str, Organism]) -> Iterator[str]:
    """Why the new set can't count while the instance runs; nothing when it can.

    What has entries must keep its organism, and what is released must keep lying on the segments
    that its sequences have.
    """
    for name in sorted(before.keys() - after.keys()):
        if organisms_in_use.has_entries(house, name):
            yield f"{name}: its file is gone (or has another name in it), but there are entries of it: put it back"
    for name in sorted(before.keys() & after.keys()):
        lost = list(_lost_segments(before[name], after[name]))
        if lost and organisms_in_use.has_released(house, name):
            yield f"{name}: released entries lie on {', '.join(lost)}, which the new reference has not"


def warnings(before: OrganismSet, after: OrganismSet) -> list[str]:
    """What a maintainer should know about the step from one set to the next."""
    changed = {name for name in before if before.digests.get(name) != after.digests.get(name)}
    sides = ({name: by_content(each[name]) for name in changed & each.keys()} for each in (before, after))
    return list(difference(*sides).warnings)


def _lost_segments(before: Organism, after: Organism) -> Iterator[str]:
    """Segments by name and length that no genome has any more; more genomes may come."""
    kept = _segments(after)
    for name, length in sorted(_segments(before) - kept):
        yield f"{name} ({length} bases)"


def _segments(organism: Organism) -> set[tuple[str, int]]:
    """The segments of all genomes. The only one of a genome has no name in what is released."""
    try:
        genomes = [references.load_segments(each.fasta) for each in organism.candidates]
    except ReadvaultError:
        return set()
    alone = all(len(genome) == 1 for genome in genomes)
    return {("main" if alone else each.name, len(each.sequence)) for genome in genomes for each in genome}
