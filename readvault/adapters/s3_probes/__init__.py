"""Does this provider keep what readvault promises? Each probe tries it on the bucket itself and tells what it saw.

Everything is asked through the store that production uses, with the keys that production has, on
keys of the probes' own, which are removed afterwards. Nothing here trusts a provider's name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from readvault.adapters.s3_probes import bucket_rules, objects, uploads
from readvault.adapters.s3_probes.bucket import Bucket, Probe, Seen
from readvault.config import S3Settings
from readvault.domain.errors import ProcessingFailure

__all__ = ["PROBES", "Seen", "examine"]

PROBES: dict[str, Probe] = {**bucket_rules.PROBES, **uploads.PROBES, **objects.PROBES}
_UNREACHABLE = "See that the endpoint, the bucket and the keys work."


def examine(settings: S3Settings, *, origin: str, only: Collection[str] | None = None) -> Iterator[Seen]:
    """Try everything, or `only` these probes, in order; a probe that breaks is told and the others go on.

    `origin` is where pages that upload come from. Writes some dozen small objects below
    `incoming/doctor-…` and removes them.
    """
    bucket = Bucket(settings, origin)
    try:
        for name, probe in PROBES.items():
            if only is not None and name not in only:
                continue
            try:
                yield probe(bucket)
            # An answer that lacks what every S3 tells is no answer.
            except (ProcessingFailure, ClientError, BotoCoreError, httpx.HTTPError, StopIteration, KeyError) as fault:
                told = fault.cause if isinstance(fault, ProcessingFailure) else type(fault).__name__
                yield Seen(name, False, f"the probe broke: {told}", _UNREACHABLE)
    finally:
        bucket.clean_up()
