"""Looking over an instance before reads come: each probe tells what it saw, what it means, what to do.

A new probe is a function of the settings that yields findings, and a line in `PROBES`.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from readvault.config import Settings, load_organism
from readvault.domain.errors import ReadvaultError
from readvault.domain.organism import Organism
from readvault.host_index_readiness import EXTERNAL, organism_readiness
from readvault.reads import references, tools
from readvault.reads.dehumanize import host_index, host_overlap
from readvault.server_job import SCRATCH_FACTOR

GB = 10**9
LITTLE_SCRATCH, NO_SCRATCH = 50 * GB, 1 * GB
"""Free bytes on the scratch disk below which it warns, and below which nothing can be processed."""
OPEN_FILES = 1024
MEMORY_OF_INDEX = 1.6
"""deacon's memory for an index, in sizes of its file."""
MEMORY_OF_JOB = 1 * GB
_PLACES_SHOWN = 3


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe saw: one line, and what to do about it when it is not ok."""

    probe: str
    level: Level
    message: str
    advice: str | None = None


Probe = Callable[[Settings], Iterator[Finding]]


def examine(settings: Settings) -> Iterator[Finding]:
    """Run all probes, in order. A probe that breaks is a finding too, and the others go on."""
    for name, probe in PROBES.items():
        try:
            yield from probe(settings)
        except Exception as fault:
            said = f"{fault}" if isinstance(fault, ReadvaultError | OSError) else type(fault).__name__
            yield Finding(name, Level.FAIL, f"the probe broke: {said}", "Something that it needs is not there.")


def _tools(_: Settings) -> Iterator[Finding]:
    versions = ", ".join(f"{name} {version}" for name, version in tools.versions().items())
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("tools", Level.OK, f"{versions}; {system}")


def _organisms(settings: Settings) -> Iterator[Finding]:
    paths = sorted(settings.organisms_dir.glob("*.yaml"))
    if not paths:
        advice = "Set READVAULT_ORGANISMS_DIR to the folder with the organisms' YAML files."
        yield Finding("organisms", Level.FAIL, f"no organism files (*.yaml) in {settings.organisms_dir}", advice)
    names: dict[str, Path] = {}
    for path in paths:
        try:
            organism = load_organism(path)
            segments = [references.load_segments(candidate.fasta) for candidate in organism.candidates]
        except ReadvaultError as fault:
            yield Finding(
                "organisms", Level.FAIL, str(fault), f"Correct {path.name} or what it names: no worker starts before."
            )
            continue
        if organism.name in names:
            advice = "Rename one of them: no worker starts before."
            message = f"{path.name} and {names[organism.name].name} are both named {organism.name}"
            yield Finding("organisms", Level.FAIL, message, advice)
        names[organism.name] = path
        counts = " + ".join(str(len(each)) for each in segments)
        yield Finding("organisms", Level.OK, f"{organism.name}: {counts} reference segments")


def _host_indexes(settings: Settings) -> Iterator[Finding]:
    organisms = _loaded(settings)
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


def _shared_with_host(settings: Settings) -> Iterator[Finding]:
    organisms = _loaded(settings)
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


def _bucket(settings: Settings) -> Iterator[Finding]:
    if not settings.s3.worker.access_key:
        advice = "Set READVAULT_S3__WORKER__ACCESS_KEY and its companions (docs/settings.md) to probe the bucket too."
        yield Finding("bucket", Level.WARN, "no S3 keys are set: the bucket was not looked at", advice)
        return
    from readvault.adapters.s3_probes import examine as examine_bucket

    for seen in examine_bucket(settings.s3, origin=settings.public_url):
        message = f"{seen.name}: {seen.message}"
        if seen.passed:
            yield Finding("bucket", Level.OK, message)
        else:
            yield Finding("bucket", Level.FAIL if seen.needed else Level.WARN, message, seen.advice)


def _scratch(settings: Settings) -> Iterator[Finding]:
    place = settings.scratch
    there = next(parent for parent in (place.absolute(), *place.absolute().parents) if parent.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        yield Finding("scratch", Level.FAIL, f"{there} can't be written", "Set READVAULT_WORKER__SCRATCH.")
        return
    free = shutil.disk_usage(there).free
    message = f"{free / GB:.1f} GB free: originals of {free / SCRATCH_FACTOR / GB:.1f} GB at a time"
    if free >= LITTLE_SCRATCH:
        yield Finding("scratch", Level.OK, message)
    else:
        level = Level.FAIL if free < NO_SCRATCH else Level.WARN
        yield Finding("scratch", level, message, "Set READVAULT_WORKER__SCRATCH to a larger disk for larger files.")


def _limits(settings: Settings) -> Iterator[Finding]:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < OPEN_FILES:
        yield Finding("limits", Level.WARN, f"only {files} open files", f"ulimit -n {OPEN_FILES} or more.")
    else:
        yield Finding("limits", Level.OK, "open files: " + ("no limit" if files < 0 else str(files)))
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size != resource.RLIM_INFINITY and size < settings.worker.file_size_limit:
        message = f"files may have {size / GB:.1f} GB only"
        yield Finding("limits", Level.WARN, message, "ulimit -f unlimited: or large samples fail.")


def _memory(settings: Settings) -> Iterator[Finding]:
    paths = {settings.host_index(organism) for organism in _loaded(settings).values()}
    indexes = sum(path.stat().st_size for path in paths if path is not None and path.is_file())
    needed = MEMORY_OF_INDEX * indexes + MEMORY_OF_JOB * settings.worker.concurrency
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    has = max(free, _available_memory())
    message = (
        f"{has / GB:.1f} GB available; {needed / GB:.1f} GB for the host indexes and {settings.worker.concurrency} jobs"
    )
    if has >= needed:
        yield Finding("memory", Level.OK, message)
    else:
        advice = "Fewer jobs at a time (READVAULT_WORKER__CONCURRENCY), or more memory."
        yield Finding("memory", Level.WARN, message, advice)


def _available_memory() -> int:
    """What Linux says it could give, caches included; 0 where it says nothing."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), 0)


def _loaded(settings: Settings) -> dict[str, Organism]:
    """The organisms whose files are right; the probe `organisms` tells of the others."""
    found: dict[str, Organism] = {}
    for path in sorted(settings.organisms_dir.glob("*.yaml")):
        try:
            organism = load_organism(path)
        except ReadvaultError:
            continue
        found.setdefault(organism.name, organism)
    return found


PROBES: dict[str, Probe] = {
    "tools": _tools,
    "organisms": _organisms,
    "host index": _host_indexes,
    "shared with host": _shared_with_host,
    "bucket": _bucket,
    "scratch": _scratch,
    "limits": _limits,
    "memory": _memory,
}
