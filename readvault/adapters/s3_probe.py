"""What a bucket must refuse before we start: anybody who shows no credentials."""

from __future__ import annotations

import time

import httpx

from readvault.domain.errors import NotReady

TIMEOUT = 10.0
_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between tries: an S3 that is busy for a moment keeps nobody from starting."""


class Silent(NotReady):
    """S3 doesn't answer, so nobody knows what it lets through."""


def refuse_anonymous(endpoint: str, bucket: str) -> None:
    """Make sure that S3 shows nothing without credentials; raises NotReady when it does, or doesn't answer.

    Asks for the list of buckets and for the list of the bucket's objects, unsigned. The second must
    be refused with 401 or 403; the first too, or lead away from S3, as Amazon's does.
    """
    with httpx.Client(timeout=TIMEOUT, follow_redirects=False) as http:
        buckets = _status(http, f"{endpoint.rstrip('/')}/")
        objects = _status(http, f"{endpoint.rstrip('/')}/{bucket}?list-type=2&max-keys=1")
    if buckets not in (301, 302, 303, 307, 308, 401, 403):
        raise NotReady(f"S3 answers {buckets} to anybody who asks for its buckets; it must refuse (401 or 403)")
    if objects not in (401, 403):
        raise NotReady(f"S3 answers {objects} to anybody who lists the bucket; it must refuse (401 or 403)")


def _status(http: httpx.Client, url: str) -> int:
    """The status of the first answer that says something: 429 and 5xx say nothing of who is let in."""
    status = 0
    for pause in (0.0, *_PAUSES):
        time.sleep(pause)
        try:
            status = http.get(url).status_code
        except httpx.HTTPError as fault:
            raise Silent(f"S3 doesn't answer at its endpoint: {type(fault).__name__}") from None
        if status != httpx.codes.TOO_MANY_REQUESTS and status < httpx.codes.INTERNAL_SERVER_ERROR:
            return status
    raise Silent(f"S3 answers nothing but {status} at its endpoint")
