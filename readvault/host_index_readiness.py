"""Whether reads of an organism can be processed here. Without a screen for human reads nothing is."""

from __future__ import annotations

from collections.abc import Mapping

from readvault.config import Settings
from readvault.domain.errors import ProcessingFailure
from readvault.domain.organism import Organism
from readvault.reads import organism_files
from readvault.reads.dehumanize import host_index

EXTERNAL = "an external pipeline processes it, and readvault's own steps do not"
"""No reason for concern: where an external pipeline stands instead, no index is needed."""


def organism_readiness(settings: Settings, organisms: Mapping[str, Organism]) -> dict[str, str | None]:
    """For each organism why nothing of it can be processed here, or None when it can.

    Reads the whole index to compare its SHA-256 with the one in the organism's file, and the files of references,
    genes and primers; again only when a file has changed.
    """
    return {
        name: _reason(settings, organism) or organism_files.fault_of(organism) for name, organism in organisms.items()
    }


def _reason(settings: Settings, organism: Organism) -> str | None:
    rules = organism.pipeline.dehumanize
    if rules.off is not None:
        return None
    path = settings.host_index(organism)
    if path is None:
        external = organism.pipeline.external
        if external is not None and external.mode == "instead":
            return EXTERNAL
        return "no host index is configured (pipeline.dehumanize.index and .sha256), and dehumanize is not off"
    if not path.is_file():
        return f"its host index {path.name} is not in {path.parent} (readvault host-index fetch)"
    try:
        found = host_index.digest(path)
    except (OSError, ProcessingFailure) as fault:  # one bad file must not stop the organisms that don't need it
        return f"its host index {path.name} can't be read ({type(fault).__name__})"
    if found != rules.sha256:
        return f"its host index {path.name} has SHA-256 {found}, but {rules.sha256} is pinned"
    return None
