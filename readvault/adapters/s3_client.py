"""How this process talks to S3: one client an identity, and errors that give nothing away."""

from __future__ import annotations

import errno
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import boto3.session
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp

from readvault.adapters.s3_answers import insist_on_whole_answers
from readvault.config import S3Credentials
from readvault.counters import S3_FAILURES, word
from readvault.domain.errors import NotReady, ProcessingFailure, ScratchFull, StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

MAX_CONNECTIONS = 32
ATTEMPTS = 4
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0

BROKEN_TRANSFER = (HTTPClientError, IncompleteReadError, ResponseStreamingError)
"""A body that stopped in the middle: asking for the rest again is worth a try."""

_NOT_THERE = (ConnectionError, HTTPClientError, IncompleteReadError, ResponseParserError)
_BUSY = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests"}
_NO_BUCKET = "NoSuchBucket"
"""A wrong name in the settings, or a bucket that is away as a whole: no damage of each object in it."""
_NOT_IMPLEMENTED = 501
_DAMAGED = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody"}
"""S3's words for a body that isn't the one we sent. It kept nothing, so it is sent again."""

_making = threading.Lock()
_DISK = {errno.ENOSPC: "the scratch disk is full", errno.EDQUOT: "the quota of the scratch disk is used up"}


def client(credentials: S3Credentials, *, identity: str, endpoint: str, region: str) -> S3Client:
    """A client for one S3 identity; raises NotReady when it has no keys.

    Without keys boto3 would look for others in the environment and sign with rights that nobody
    meant this process to have.
    """
    secret = credentials.secret_key.get_secret_value()
    if not (credentials.access_key and secret):
        raise NotReady(f"the S3 identity {identity} has no keys (READVAULT_S3__{identity.upper()}__ACCESS_KEY, …)")
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        # boto3's own checksum trailers are refused by several providers; where a hash matters we send it.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "adaptive", "total_max_attempts": ATTEMPTS},
        max_pool_connections=MAX_CONNECTIONS,
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        tcp_keepalive=True,
    )
    with _making:  # making clients is the one thing in boto3 that threads may not share
        made = _session().client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=secret,
            config=config,
        )
    again: Callable[..., Any] = _damaged_on_the_way
    made.meta.events.register("needs-retry.s3", again, unique_id="readvault-damaged")
    return made


def _damaged_on_the_way(attempts: int, response: Any, **_: Any) -> float | None:
    """How long to wait (seconds) before a request is sent again whose body came to S3 as another one."""
    if response is None or attempts >= ATTEMPTS:
        return None
    code = response[1].get("Error", {}).get("Code")
    return 0.1 * 2.0**attempts if code in _DAMAGED else None


@functools.cache
def _session() -> boto3.session.Session:
    """One for all clients: each new one would read S3's whole description again."""
    insist_on_whole_answers()
    core = botocore.session.Session()
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
    return boto3.session.Session(botocore_session=core)


def _moment(value: Any) -> datetime:
    """A moment as S3 writes it in listings; botocore's own way takes as long for it as for all the rest of a line."""
    if isinstance(value, str) and value.endswith("Z"):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    return parse_timestamp(value)


def code_of(fault: ClientError) -> str:
    """S3's word for what went wrong, for example `NoSuchVersion`; a bare status where it gives none."""
    return str(fault.response.get("Error", {}).get("Code", "unknown"))


def status_of(fault: ClientError) -> int:
    """The HTTP status of S3's refusal, 0 when there was none."""
    return int(fault.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def failures_of(step: str) -> Iterator[None]:
    """Turn whatever S3 or the disk raise into a ProcessingFailure of `step` without address, key or secret.

    It is StoreUnavailable where S3 can't be reached, is too busy or has failed itself, and ScratchFull where
    the disk is. The original error is dropped on purpose: its text names the URL.
    """
    kind = ProcessingFailure
    try:
        yield
    except ClientError as fault:
        kind = StoreUnavailable if _is_down(fault) else ProcessingFailure
        cause = f"S3 answered {code_of(fault)} (HTTP {status_of(fault)}) to {fault.operation_name}"
        S3_FAILURES.labels(step, word(code_of(fault))).inc()
    except (BotoCoreError, ResponseParserError) as fault:
        kind = StoreUnavailable if isinstance(fault, _NOT_THERE) else ProcessingFailure
        cause = f"S3 can't be used: {type(fault).__name__}"
        S3_FAILURES.labels(step, type(fault).__name__).inc()
    except OSError as fault:
        number = fault.errno or 0
        kind = ScratchFull if number in _DISK else ProcessingFailure
        cause = _DISK.get(number, f"{type(fault).__name__} ({errno.errorcode.get(number, number)}) on a local file")
    else:
        return
    raise kind(step, cause) from None


def _is_down(fault: ClientError) -> bool:
    status = status_of(fault)
    return (
        (status >= 500 and status != _NOT_IMPLEMENTED) or status in (408, 429) or code_of(fault) in (*_BUSY, _NO_BUCKET)
    )


def pinned(key: str, version_id: str | None) -> dict[str, Any]:
    """The parameters that name one version of one object."""
    return {"Key": key} if version_id is None else {"Key": key, "VersionId": version_id}


def version_id_of(answer: Any) -> str | None:
    """The version ID in an answer, None where the provider keeps no versions (S3 then says `null`)."""
    version_id = answer.get("VersionId")
    return None if version_id in (None, "", "null") else str(version_id)
