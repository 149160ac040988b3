"""Probes of the bucket and of the second one. Which of them production can't do without, and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType

from readvault.adapters import s3_probes
from readvault.adapters.s3 import S3Store
from readvault.adapters.s3_probe import Silent, refuse_anonymous
from readvault.adapters.s3_probes import Seen
from readvault.config import S3Settings, Settings
from readvault.doctor.findings import Finding, Level
from readvault.domain.errors import NotReady, ProcessingFailure

MANDATORY: Mapping[str, str] = MappingProxyType(
    {
        "strangers": "what isn't released is closed to everybody without a signed URL",
        "upload signer": "whoever gets hold of the upload signer's keys can read and replace nothing",
        "read signer": "whoever gets hold of the read signer's keys can change nothing",
        "worker": "whoever gets hold of the worker's keys takes away nothing that is locked",
        "versions": "what was sealed is pinned by its version",
        "pinned version": "a later write or delete takes nothing away from readers",
        "clock": "signed URLs live as long as was said",
        "encryption": "disks that leave the house tell nothing",
        "second write": "a leaked upload URL replaces nothing",
        "racing writes": "of two uploads at once one wins and stays",
        "declared size": "limits hold before a file is submitted",
        "declared SHA-256": "an upload that was damaged on the way is refused at once",
        "expired link": "URLs end",
        "link of another key": "signatures are checked at all",
        "parts together once": "a large file can't be replaced through its parts",
        "read after write": "what was uploaded can be submitted",
        "stored once": "a retry stores nothing twice",
    }
)
"""Probes that production demands: the promise that is broken without."""
OPTIONAL: Mapping[str, str] = MappingProxyType(
    {
        "object lock": "a second wall around released files, where the provider has it",
        "exports": "readers get exported reads; who exports none needs no such right",
        "browsers": "uploads through the pages; command lines need none",
        "unfinished uploads": "a lifecycle rule of the bucket does the same",
    }
)
"""Probes that production only warns of."""
WITHOUT_SIGNERS = frozenset({"strangers", "versions", "clock", "encryption"})
"""What a worker can try: it has no keys but its own."""

Examine = Callable[..., Iterator[Seen]]


def bucket(
    settings: Settings, *, only: Collection[str] | None = None, examine: Examine | None = None
) -> Iterator[Finding]:
    """Whether the bucket keeps what readvault promises; `only` these probes."""
    if not settings.s3.worker.access_key:
        advice = "Set READVAULT_S3__WORKER__ACCESS_KEY and its companions (docs/settings.md) to probe the bucket too."
        yield Finding("bucket", Level.WARN, "no S3 keys are set: the bucket was not looked at", advice)
        return
    for seen in (examine or s3_probes.examine)(settings.s3, origin=settings.public_url, only=only):
        message = f"{seen.name}: {seen.message}"
        if seen.passed:
            yield Finding("bucket", Level.OK, message)
        else:
            level = Level.FAIL if seen.needed else Level.WARN
            yield Finding("bucket", level, message, seen.advice, refused=seen.name in MANDATORY)


def second_bucket(settings: Settings) -> Iterator[Finding]:
    """Whether the bucket with the copies answers."""
    second = settings.s3.second
    if second is None:
        advice = "A second bucket at another provider mends what the first one loses (READVAULT_S3__SECOND__…)."
        yield Finding("second bucket", Level.WARN if settings.production else Level.OK, "there is none", advice)
        return
    against = list(another_bucket(settings))
    yield from against
    if against:
        return
    named = {"endpoint": second.endpoint, "region": second.region, "bucket": second.bucket, "worker": second.worker}
    store = S3Store(S3Settings(**named))
    try:
        next(store.list_versions("doctor/nothing"), None)
    except ProcessingFailure as failure:
        advice = "Until it answers nothing is copied, and damage can't be mended from it."
        yield Finding("second bucket", Level.FAIL, f"it can't be used: {failure.cause}", advice)
        return
    yield Finding("second bucket", Level.OK, "it answers")


def another_bucket(settings: Settings) -> Iterator[Finding]:
    """Whether the second bucket, where there is one, is not the first again, and as closed: originals lie in it too."""
    second = settings.s3.second
    if second is None:
        return
    if (_place(second.endpoint), second.bucket) == (_place(settings.s3.endpoint), settings.s3.bucket):
        advice = "Name another bucket, best at another provider."
        yield Finding("second bucket", Level.FAIL, "it is the first one", advice, refused=True)
    if not (second.worker.access_key and second.worker.secret_key.get_secret_value()):
        advice = "Set READVAULT_S3__SECOND__WORKER__ACCESS_KEY and its SECRET_KEY."
        yield Finding("second bucket", Level.FAIL, "there are no keys for it", advice, refused=True)
    try:
        refuse_anonymous(second.endpoint, second.bucket)
    except Silent as silence:
        yield Finding("second bucket", Level.FAIL, str(silence), "Until it answers nothing is copied; copies wait.")
    except NotReady as open_to_all:
        advice = "Block public access of it: copies of originals lie in it."
        yield Finding("second bucket", Level.FAIL, str(open_to_all), advice, refused=True)


def _place(endpoint: str) -> str:
    return endpoint.rstrip("/").lower()
