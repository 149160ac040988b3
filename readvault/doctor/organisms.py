"""Probes of the organisms: their files, their host indexes, and what those share with the references."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from readvault.config import Settings, load_organism
from readvault.doctor.findings import Finding, Level
from readvault.domain.errors import ReadvaultError
from readvault.domain.organism import Organism
from readvault.host_index_readiness import EXTERNAL, organism_readiness
from readvault.organisms import findings as organism_findings
from readvault.organisms.checking import check
from readvault.reads import references
from readvault.reads.dehumanize import host_index, host_overlap

_PLACES_SHOWN = 3
_TOLD_NEXT = ("pipeline.dehumanize.index", "pipeline.dehumanize.off")
"""What the probe of host indexes says of organisms whose files are right."""


def organism_files(settings: Settings) -> Iterator[Finding]:
    """Every mistake and doubt in the organism files and what they name, as `readvault organisms check` tells them."""
    checked = check([settings.organisms_dir], settings)
    for found in checked.findings:
        if found.key in _TOLD_NEXT and found.file in checked.files.values():
            continue
        if found.file == settings.organisms_dir:
            advice = "Set READVAULT_ORGANISMS_DIR to the folder with the organisms' YAML files."
            yield Finding("organisms", Level.FAIL, f"{found.file}: {found.message}", advice)
            continue
        message = f"{found.file.name}:{found.line}: " + (f"{found.key}: " if found.key else "") + found.message
        if found.level is organism_findings.Level.ERROR:
            advice = f"{found.advice} No worker starts before.".strip()
            yield Finding("organisms", Level.FAIL, message, advice)
        else:
            yield Finding("organisms", Level.WARN, message, found.advice or "Perhaps it is meant so.")
    for name, organism in checked.organisms.items():
        segments = (references.load_segments(candidate.fasta) for candidate in organism.candidates)
        counts = " + ".join(str(len(each)) for each in segments)
        yield Finding("organisms", Level.OK, f"{name}: {counts} reference segments")


def host_indexes(settings: Settings) -> Iterator[Finding]:
    """Whether each organism has the host index that it pins."""
    organisms = loaded(settings)
    for name, reason in organism_readiness(settings, organisms).items():
        rules = organisms[name].pipeline.dehumanize
        if reason == EXTERNAL:
            yield Finding("host index", Level.OK, f"{name}: {reason}")
        elif reason is not None:
            advice = f"Until then nothing of {name} is processed: docs/organisms.md, 'Pinning a host index'."
            yield Finding("host index", Level.FAIL, f"{name}: {reason}", advice)
        elif rules.off is not None:
            advice = "As was asked for: none of its files with reads is ever public."
            yield Finding("host index", Level.WARN, f"{name}: reads are not screened for human sequence", advice)
        else:
            path = settings.host_index(organisms[name])
            assert path is not None
            about = host_index.info(path)
            message = f"{name}: {path.name}, {about.kmers} k-mers, k={about.k}, w={about.w}, as pinned"
            yield Finding("host index", Level.OK, message)


def shared_with_host(settings: Settings) -> Iterator[Finding]:
    """Which reads of a reference would leave as human."""
    organisms = loaded(settings)
    ready = organism_readiness(settings, organisms)
    for name, organism in organisms.items():
        path = settings.host_index(organism)
        if path is None or ready[name] is not None:
            continue  # the probe before has told
        for candidate in organism.candidates:
            found = host_overlap.overlaps(path, references.load_segments(candidate.fasta))
            shared = [overlap for overlap in found if overlap.kmers]
            for overlap in shared:
                yield _shared(name, path, overlap)
            if not shared:
                message = f"{name}: {path.name} and {candidate.fasta.name} share no k-mer"
                yield Finding("shared with host", Level.OK, message)


def _shared(name: str, index: Path, overlap: host_overlap.Overlap) -> Finding:
    places = ", ".join(f"{start}-{end}" for start, end in overlap.places[:_PLACES_SHOWN])
    more = f" and {len(overlap.places) - _PLACES_SHOWN} more" if len(overlap.places) > _PLACES_SHOWN else ""
    message = (
        f"{name}: {index.name} and segment {overlap.segment} share {overlap.kmers} k-mers on {overlap.positions}"
        f" positions ({overlap.positions / overlap.length:.2%}): {places}{more}"
    )
    advice = (
        f"Up to {overlap.reads_lost:.2%} of its reads of {host_overlap.READ_LENGTH} bases would leave as human."
        " Mask these places in the host before you build the index, or choose one without them."
    )
    return Finding("shared with host", Level.WARN, message, advice)


def loaded(settings: Settings) -> dict[str, Organism]:
    """The organisms whose files are right; the probe `organisms` tells of the others."""
    found: dict[str, Organism] = {}
    for path in sorted(settings.organisms_dir.glob("*.yaml")):
        try:
            organism = load_organism(path)
        except ReadvaultError:
            continue
        found.setdefault(organism.name, organism)
    return found
