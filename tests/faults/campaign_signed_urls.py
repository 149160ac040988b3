"""A pre-signed upload, changed in one thing: S3 must refuse it, and nothing may come into being."""

from __future__ import annotations

import base64
import functools
import hashlib
import random
import time
import urllib.parse
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from readvault.adapters.s3 import S3Store
from readvault.ports import SignedRequest
from tests.faults.campaign import Campaign, Outcome
from tests.faults.s3_trials import shared_server

EXPIRES = 600


@dataclass(frozen=True, slots=True)
class _Request:
    """What is sent."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    host: str | None = None


def _other_method(request: _Request, dice: random.Random) -> _Request:
    return replace(request, method=dice.choice(("GET", "HEAD", "DELETE", "POST")))


def _other_key(request: _Request, dice: random.Random) -> _Request:
    address = urllib.parse.urlsplit(request.url)
    place = dice.choice(
        ("/incoming/b/other", "/vault/1/" + "0" * 64, "/incoming/b/../../vault/1/x", "/manifests/x.json")
    )
    bucket = address.path.split("/")[1]
    return replace(request, url=address._replace(path=f"/{bucket}{place}").geturl())


def _other_size(request: _Request, dice: random.Random) -> _Request:
    longer = request.body + dice.randbytes(dice.randint(1, 50))
    return replace(request, body=dice.choice((longer, request.body[:-1], b"")))


def _other_body(request: _Request, dice: random.Random) -> _Request:
    return replace(request, body=dice.randbytes(len(request.body)))


def _other_header(request: _Request, dice: random.Random) -> _Request:
    """One signed header is left out or says something else."""
    name = dice.choice(("If-None-Match", "x-amz-checksum-sha256"))
    headers = {key: value for key, value in request.headers.items() if key != name}
    if dice.random() < 0.6:
        other = dice.randbytes(len(request.body))
        checksum = base64.b64encode(hashlib.sha256(other).digest()).decode()
        headers[name] = dice.choice(("", '"x"')) if name == "If-None-Match" else checksum
        if name == "x-amz-checksum-sha256":
            return replace(request, headers=headers, body=other)
    return replace(request, headers=headers)


def _other_date(request: _Request, dice: random.Random) -> _Request:
    """The signature is used at another time than it was made for."""
    moved = time.gmtime(time.time() + dice.choice((-1, 1)) * dice.randint(1, 100_000))
    return _with_query(request, "X-Amz-Date", time.strftime("%Y%m%dT%H%M%SZ", moved))


def _longer_life(request: _Request, dice: random.Random) -> _Request:
    return _with_query(request, "X-Amz-Expires", str(dice.choice((EXPIRES + 1, 86400, 604800))))


def _other_query(request: _Request, dice: random.Random) -> _Request:
    """A parameter more, one less, or another signature."""
    name = dice.choice(("versionId", "partNumber", "acl", "tagging", "X-Amz-Signature", "X-Amz-SignedHeaders"))
    if name in ("X-Amz-Signature", "X-Amz-SignedHeaders"):
        return _with_query(request, name, "host" if name == "X-Amz-SignedHeaders" else dice.randbytes(32).hex())
    return replace(request, url=f"{request.url}&{name}={dice.randint(1, 9)}")


def _other_host(request: _Request, dice: random.Random) -> _Request:
    return replace(request, host=dice.choice(("example.org", "localhost", "127.0.0.1:1", "s3.amazonaws.com")))


MUTATIONS: tuple[Callable[[_Request, random.Random], _Request], ...] = (
    _other_method,
    _other_key,
    _other_size,
    _other_body,
    _other_header,
    _other_date,
    _longer_life,
    _other_query,
    _other_host,
)


def _with_query(request: _Request, name: str, value: str) -> _Request:
    address = urllib.parse.urlsplit(request.url)
    query = [(key, value if key == name else old) for key, old in urllib.parse.parse_qsl(address.query)]
    assert dict(query).get(name) == value
    return replace(request, url=address._replace(query=urllib.parse.urlencode(query)).geturl())


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """One signed request for each trial, changed in one thing; then the request as it was signed."""
    dice = random.Random(seed)
    store = S3Store(shared_server().provision(f"test-{uuid.uuid4().hex[:12]}"))
    failures = []
    with httpx.Client(timeout=30) as http:
        for number in range(trials):
            mutate = MUTATIONS[(seed + number) % len(MUTATIONS)]
            body = dice.randbytes(dice.randint(1, 3000))
            key = f"incoming/b/{dice.randbytes(12).hex()}"
            signed = store.sign_put(key, size=len(body), sha256=hashlib.sha256(body).hexdigest(), expires=EXPIRES)
            good = _Request("PUT", signed.url, _without_length(signed), body)
            bad = mutate(good, dice)
            status = _send(http, bad)
            there = functools.partial(lambda key: list(store.list_versions(key)), key)
            if not 400 <= status < 500:
                failures.append(f"{mutate.__name__}: {status}")
            elif there():
                failures.append(f"{mutate.__name__}: {status}, and an object came into being")
            elif _send(http, good) != 200 or [each.size for each in there()] != [len(body)]:
                failures.append(f"{mutate.__name__}: afterwards the right request doesn't do any more")
        beside = [
            each.key for prefix in ("vault/", "manifests/", "incoming/b/other") for each in store.list_versions(prefix)
        ]
        failures += [f"an object came into being under {key}" for key in beside]
    return Outcome(trials, failures, "SeaweedFS, single PUTs with declared length and SHA-256")


def _send(http: httpx.Client, request: _Request) -> int:
    headers = request.headers | ({"Host": request.host} if request.host else {})
    body = request.body if request.method in ("PUT", "POST") else None
    return http.request(request.method, request.url, headers=headers, content=body).status_code


def _without_length(signed: SignedRequest) -> dict[str, str]:
    return {name: value for name, value in signed.headers.items() if name != "Content-Length"}


CAMPAIGN = Campaign(
    name="signed_urls",
    promise="P5 What was validated is what is released",
    how="a pre-signed PUT changed in its method, key, size, body, a signed header, date, life, query or host is refused"
    " with 4xx, no object comes into being, and the request as it was signed still does",
    full=1800,
    run=run,
    unit="mutations",
    part=180,
    tiny=9,
)
