"""Probes of this machine: the tools, the scratch disk, limits, memory."""

from __future__ import annotations

import os
import platform
import resource
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from readvault.config import Settings
from readvault.doctor.findings import Finding, Level
from readvault.doctor.organisms import loaded
from readvault.reads import tools
from readvault.worker.server_job import SCRATCH_FACTOR

GB = 10**9
LITTLE_SCRATCH, NO_SCRATCH = 50 * GB, 1 * GB
"""Free bytes on the scratch disk below which it warns, and below which nothing can be processed."""
OPEN_FILES = 1024
MEMORY_OF_INDEX = 1.6
"""deacon's memory for an index, in sizes of its file."""
MEMORY_OF_JOB = 1 * GB


def tool_versions(_: Settings) -> Iterator[Finding]:
    """Which tools there are, and whether each package is one that was tried."""
    versions = ", ".join(f"{name} {version}" for name, version in tools.versions().items())
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("tools", Level.OK, f"{versions}; {system}")
    for needed in requires("readvault") or ():
        requirement = Requirement(needed)
        if requirement.marker is None or not requirement.marker.evaluate({"extra": "server"}):
            continue
        advice = "Install readvault[server] as requirements.lock has it; other versions were not tried."
        try:
            has = version(requirement.name)
        except PackageNotFoundError:
            yield Finding("tools", Level.FAIL, f"{requirement.name} is not installed", advice)
            continue
        if not requirement.specifier.contains(has, prereleases=True):
            message = f"{requirement.name} {has} is installed, {requirement.specifier} is needed"
            yield Finding("tools", Level.FAIL, message, advice)


def scratch(settings: Settings) -> Iterator[Finding]:
    """How much room jobs have to work in."""
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


def limits(settings: Settings) -> Iterator[Finding]:
    """What the system allows this user: open files and the size of one."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < OPEN_FILES:
        yield Finding("limits", Level.WARN, f"only {files} open files", f"ulimit -n {OPEN_FILES} or more.")
    else:
        yield Finding("limits", Level.OK, "open files: " + ("no limit" if files < 0 else str(files)))
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size != resource.RLIM_INFINITY and size < settings.worker.file_size_limit:
        message = f"files may have {size / GB:.1f} GB only"
        yield Finding("limits", Level.WARN, message, "ulimit -f unlimited: or large samples fail.")


def memory(settings: Settings) -> Iterator[Finding]:
    """Whether the host indexes and the jobs fit into what is free."""
    paths = {settings.host_index(organism) for organism in loaded(settings).values()}
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
