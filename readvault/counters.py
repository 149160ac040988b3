"""What this process has counted since it started, for `/metrics`. No label names a person, a file or an entry."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

REGISTRY = CollectorRegistry()
"""Ours alone: what other libraries register with Prometheus stays out."""
ProcessCollector(registry=REGISTRY)

HTTP_REQUESTS = Counter(
    "readvault_http_requests",
    "Requests by the template of their route, method and class of their status.",
    ("route", "method", "status"),
    registry=REGISTRY,
)
HTTP_SECONDS = Histogram(
    "readvault_http_request_seconds",
    "Seconds from a request to the end of its answer.",
    ("route", "method"),
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
HTTP_UNDER_WAY = Gauge("readvault_http_requests_under_way", "Requests that are not answered yet.", registry=REGISTRY)
S3_FAILURES = Counter(
    "readvault_s3_failures",
    "Calls of S3 that failed after all retries, by what was to be done and by S3's word for it.",
    ("operation", "kind"),
    registry=REGISTRY,
)
PREFECT_FAILURES = Counter(
    "readvault_prefect_failures",
    "Times that Prefect could not be reached or refused, by what it was asked.",
    ("operation",),
    registry=REGISTRY,
)
ATTEMPTS_GIVEN_UP = Counter(
    "readvault_attempts_given_up",
    "Attempts that ended without a result: failures of ours, and jobs handed back by a worker that stopped.",
    ("kind", "how"),
    registry=REGISTRY,
)
RESULTS = Counter(
    "readvault_results", "Results that were registered, by what they say.", ("organism", "result"), registry=REGISTRY
)
REFUSALS = Counter(
    "readvault_refusals",
    "Results with errors, once for each reason that one has.",
    ("organism", "reason"),
    registry=REGISTRY,
)
ORGANISM_FILES_REFUSED = Gauge(
    "readvault_organism_files_refused",
    "1 while changed organism files are refused and what counted before still does.",
    registry=REGISTRY,
)
ORGANISM_RELOADS = Counter(
    "readvault_organism_reloads", "Changed sets of organism files, taken or refused.", ("how",), registry=REGISTRY
)
_WORD = re.compile(r"[A-Za-z0-9_]{1,40}")


def word(text: str) -> str:
    """A label from outside: what is no short word could be anything, a secret among it.

    >>> word("NoSuchKey"), word("https://s3/?X-Amz-Signature=1")
    ('NoSuchKey', 'other')
    """
    return text if _WORD.fullmatch(text) else "other"
