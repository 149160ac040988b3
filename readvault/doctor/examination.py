"""All probes, in order. A new one is a function of the settings that yields findings, and a line in `PROBES`."""

from __future__ import annotations

from collections.abc import Iterator

from readvault.config import Settings
from readvault.doctor.bucket import bucket, second_bucket
from readvault.doctor.database import database
from readvault.doctor.findings import Finding, Probe, shielded, within
from readvault.doctor.identity import identity, left_logins
from readvault.doctor.machine import limits, memory, scratch, tool_versions
from readvault.doctor.organisms import host_indexes, organism_files, shared_with_host
from readvault.doctor.prefect import prefect
from readvault.doctor.production import addresses, credentials, demo, pulls

PROBES: dict[str, Probe] = {
    "tools": tool_versions,
    "organisms": organism_files,
    "host index": host_indexes,
    "shared with host": shared_with_host,
    "database": database,
    "identity": identity,
    "left logins": left_logins,
    "prefect": prefect,
    "bucket": bucket,
    "second bucket": second_bucket,
    "addresses": addresses,
    "credentials": credentials,
    "demo": demo,
    "pulls": pulls,
    "scratch": scratch,
    "limits": limits,
    "memory": memory,
}
SECONDS = {
    "database": 30.0,
    "identity": 30.0,
    "left logins": 30.0,
    "prefect": 60.0,
    "bucket": 180.0,
    "second bucket": 60.0,
}
"""How long a probe that asks others may take; those that only compute take as long as they take."""


def examine(settings: Settings) -> Iterator[Finding]:
    """Run all probes, in order. A probe that breaks or hangs is a finding too, and the others go on."""
    for name, probe in PROBES.items():
        seconds = SECONDS.get(name)
        if seconds is None:
            yield from shielded(name, probe, settings)
        else:
            yield from within(seconds, name, probe, settings)
