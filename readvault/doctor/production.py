"""Production mode: nothing starts that could not keep a promise, and all that stands against it is said at once."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from typing import Literal

from readvault.config import Settings
from readvault.doctor.addresses import is_open
from readvault.doctor.bucket import WITHOUT_SIGNERS, another_bucket, bucket
from readvault.doctor.database import database
from readvault.doctor.findings import Finding, Level, Probe, within
from readvault.doctor.identity import left_logins, trust
from readvault.doctor.prefect import closed, password
from readvault.domain.errors import NotReady

Process = Literal["api", "worker"]
MAINTAINERS = "READVAULT_MAINTAINER_"
IDENTITIES = ("upload_signer", "read_signer", "worker")
_OPEN_WAY = "Others can read along and change what is said: use https."


def addresses(settings: Settings) -> Iterator[Finding]:
    """Whether everything is reached by https; what stays on this machine needs none."""
    s3 = settings.s3
    # What people and labs reach, and what tokens name as their issuer, is never this machine alone.
    for name, address in (
        ("PUBLIC_URL", settings.public_url),
        ("S3__PUBLIC_ENDPOINT", s3.public_endpoint or s3.endpoint),
        ("IDENTITY__ISSUER", settings.identity.issuer),
    ):
        if address is not None and is_open(address, loopback_counts=False):
            yield Finding("addresses", Level.WARN, f"READVAULT_{name} is not https", _OPEN_WAY, refused=True)
    for name, address in (
        ("S3__ENDPOINT", s3.endpoint),
        ("S3__SECOND__ENDPOINT", s3.second.endpoint if s3.second else None),
        ("IDENTITY__JWKS_URL", settings.identity.jwks_url),
        ("PREFECT__API_URL", settings.prefect.api_url if settings.orchestrator == "prefect" else None),
        ("LAPIS_URL", settings.lapis_url),
    ):
        if address is not None and is_open(address):
            message = f"READVAULT_{name} leads off this machine without https"
            yield Finding("addresses", Level.WARN, message, _OPEN_WAY, refused=True)
    if not settings.production:
        yield Finding("addresses", Level.OK, f"the API is reached at {settings.public_url}")


def credentials(settings: Settings, process: Process = "api") -> Iterator[Finding]:
    """Whether each S3 identity of a process has keys, and keys of its own."""
    needed = IDENTITIES if process == "api" else ("worker",)
    keys: dict[str, str] = {}
    second = settings.s3.second
    known = {name: getattr(settings.s3, name) for name in IDENTITIES}
    for name, each in (known | ({"second__worker": second.worker} if second else {})).items():
        secret = each.secret_key.get_secret_value()
        if name in needed and not (each.access_key and secret):
            message = f"the S3 identity {name} has no keys"
            advice = f"Set READVAULT_S3__{name.upper()}__ACCESS_KEY and its SECRET_KEY."
            yield Finding("credentials", Level.WARN, message, advice, refused=True)
        for key in filter(None, (each.access_key, secret)):
            if key in keys and keys[key] != name:
                message = f"the S3 identities {keys[key]} and {name} share their keys"
                advice = "Give each its own, as weak as its work allows: docs/settings.md#s3."
                yield Finding("credentials", Level.WARN, message, advice, refused=True)
                break
            keys[key] = name


def maintainers_keys(_: Settings) -> Iterator[Finding]:
    """Whether a service was given the keys that lift locks: they are a person's, for one command."""
    if found := sorted(name for name in os.environ if name.startswith(MAINTAINERS)):
        message = f"the environment has {', '.join(found)}: keys that lift locks, which no service may hold"
        yield Finding("credentials", Level.WARN, message, "Give them to one command of a maintainer's.", refused=True)


def demo(settings: Settings) -> Iterator[Finding]:
    """Whether what is only for trying out is switched on."""
    if settings.load_demo_organism:
        message = "the organism demo is loaded, whose host index screens nothing real"
        yield Finding("demo", Level.WARN, message, "Set READVAULT_LOAD_DEMO_ORGANISM=false.", refused=True)


def pulls(settings: Settings) -> Iterator[Finding]:
    """Whether files can be pulled without danger: never from addresses inside, and only with a key for credentials."""
    chosen = settings.pulls
    if chosen.allow_private_addresses:
        message = "pulls may connect to private addresses: whoever submits could reach what is inside"
        advice = "Set READVAULT_PULLS__ALLOW_PRIVATE_ADDRESSES=false; it is for tests."
        yield Finding("pulls", Level.WARN, message, advice, refused=True)
    if not chosen.enabled:
        return
    if not chosen.secret_keys:
        message = "pulls have no key to encrypt submitters' credentials with"
        advice = "Set READVAULT_PULLS__SECRET_KEYS: docs/settings.md#pulls."
        yield Finding("pulls", Level.WARN, message, advice, refused=True)
    if not settings.production and chosen.secret_keys:
        hosts = ", ".join((*(("S3 at AWS",) if chosen.aws_regions else ()), *chosen.hosts)) or "no host at all"
        yield Finding("pulls", Level.OK, f"files are pulled from {hosts}")


def one_machine(settings: Settings) -> Iterator[Finding]:
    """Whether the database is one for one machine, as its address tells."""
    if settings.database.startswith("sqlite"):
        yield Finding("database", Level.WARN, "it is SQLite, which is for one machine", "Use PostgreSQL.", refused=True)


def probes_of(process: Process) -> Mapping[str, tuple[Probe, float]]:
    """What a process looks at before it starts, and how many seconds each may take.

    Only the API has the signers' keys; a worker looks at what its own keys show. An issuer or a
    Prefect that is down stops nobody: what they are needed for waits, and is not done wrongly.
    """
    return {
        "addresses": (addresses, 5.0),
        "credentials": (functools.partial(credentials, process=process), 5.0),
        "maintainer's keys": (maintainers_keys, 5.0),
        "demo": (demo, 5.0),
        "pulls": (pulls, 5.0),
        "identity": (trust, 5.0),
        "left logins": (left_logins, 30.0),
        "database": (database, 30.0),
        "prefect password": (password, 5.0),
        "prefect": (closed, 30.0),
        "second bucket": (another_bucket, 30.0),
        "bucket": (bucket if process == "api" else functools.partial(bucket, only=WITHOUT_SIGNERS), 180.0),
    }


def refusals(settings: Settings, process: Process) -> list[Finding]:
    """Everything that production mode refuses to start over."""
    return [
        finding
        for name, (probe, seconds) in probes_of(process).items()
        for finding in within(seconds, name, probe, settings, mandatory=name != "prefect")
        if finding.refused
    ]


def refuse_production(settings: Settings, process: Process) -> None:
    """See that every promise can be kept; raises NotReady with all that stands against it, a line each."""
    if found := refusals(settings, process):
        lines = [f"- {each.probe}: {each.message} -> {each.advice}" for each in found]
        raise NotReady("\n".join(["production mode (READVAULT_PRODUCTION) refuses to start:", *lines]))


def would_be_refused(settings: Settings, process: Process) -> list[str]:
    """What production mode would refuse as far as the settings alone tell; nothing is asked."""
    probes = (
        addresses,
        functools.partial(credentials, process=process),
        maintainers_keys,
        demo,
        pulls,
        trust,
        one_machine,
        password,
    )
    return [finding.message for probe in probes for finding in probe(settings) if finding.refused]
