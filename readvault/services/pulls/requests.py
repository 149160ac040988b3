"""Asking for a pull: what is wanted is checked and written down, the credentials encrypted, a job queued."""

from __future__ import annotations

import json
import re
import secrets
import urllib.parse
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlmodel import Session

from readvault.db import audit, clock
from readvault.db.tables import Job, Pull, PullSource
from readvault.domain import filenames
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Conflict, LimitHit, NotFound, TooLarge, TooMany
from readvault.domain.pulls import PullState, SourceRefused, SourceState, is_signed
from readvault.domain.status import JobKind
from readvault.ports import ForeignBucket, ForeignStores
from readvault.services import idempotency
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.idempotency import Once
from readvault.services.pulls.access import is_over, open_pulls, own_pull, view_of
from readvault.services.pulls.asked import CHALLENGE, PullView, WantedPull, WantedSource
from readvault.services.pulls.sealed import conceal, fingerprint, of_pull, of_source
from readvault.services.queue.deliveries import deliver_now
from readvault.services.uploads import multipart, quota

HOUR = 3600.0
LONGEST_KEY = 1024
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, repr=False)
class _Named:
    """A source as its row has it; `secret` is its whole URL where that has a query."""

    wanted: WantedSource
    name: str
    place: str
    secret: str | None = None


def offered(house: House) -> ForeignStores:
    """The guard to submitters' stores; raises NotFound where the instance pulls nothing."""
    settings = house.settings.pulls
    if not settings.enabled or not settings.secret_keys or house.foreign is None:
        raise NotFound("This instance does not pull files.")
    return house.foreign


def request_pull(
    house: House, actor: Actor | None, group_id: int, wanted: WantedPull, *, key: str | None = None
) -> PullView:
    """Write down what shall be pulled, and begin; what everybody can read waits for a challenge object first.

    The same request with the same `key` gets the same pull. Raises BadRequest for an address that nobody
    here will ask and for what makes no sense, Forbidden, NotFound, TooLarge, TooMany.
    """
    foreign = offered(house)
    bucket, sources = _checked(house, foreign, wanted)
    if wanted.by_reference:
        _check_reference(house, bucket, sources)
    once = Once.of(key, "request-pull", group_id, fingerprint(house.settings.pulls, json.dumps(_asked(wanted))))
    with house.sessions.begin() as session:
        authorize(session, actor, Action.PULL, group_id=group_id)
        assert actor is not None
        if (known := idempotency.earlier(session, actor, once)) is not None:
            return view_of(session, own_pull(session, actor, known["pull"]))
        _make_sure_of_room(house, session, actor, group_id, sources)
        pull = _row(house, session, actor, group_id, wanted, bucket)
        session.add(pull)
        session.flush()
        session.add_all(_source_row(house, pull, number, each) for number, each in enumerate(sources, start=1))
        if _needs_challenge(bucket, sources):
            pull.state = PullState.AWAITS_PROOF.value
            pull.challenge_name = f"{CHALLENGE}{secrets.token_hex(8)}.txt"
            pull.challenge_content = secrets.token_urlsafe(32)
        else:
            _queue(house, session, pull, sum(each.wanted.size or 0 for each in sources))
        idempotency.remember(session, actor, once, {"pull": pull.id})
        session.flush()
        view = view_of(session, pull)
        audit.append(session, actor.name, "request pull", pull.id, {"group": group_id, "sources": len(sources)})
    _deliver(house, pull)
    return view


def start(house: House, actor: Actor | None, pull_id: str) -> PullView:
    """Begin a pull whose challenge object is there now; one that has begun is left as it is.

    Raises NotFound, and Conflict for one that is over.
    """
    offered(house)
    with house.sessions.begin() as session:
        pull = own_pull(session, actor, pull_id, for_update=True)
        assert actor is not None
        view = view_of(session, pull)
        if is_over(pull):
            raise Conflict(f"This pull is {pull.state}.")
        if pull.state != PullState.AWAITS_PROOF:
            return view
        _queue(house, session, pull, view.size)
        audit.append(session, actor.name, "start pull", pull.id)
    _deliver(house, pull)
    return replace(view, pull=pull)


def _queue(house: House, session: Session, pull: Pull, size: int) -> None:
    """Its job, in the same transaction; it waits among the large ones, as hours of waiting for a line would block."""
    now = clock.read(session)
    job = Job(
        id=str(uuid.uuid4()),
        kind=JobKind.IMPORT.value,
        organism="",
        accession=None,
        version=None,
        pipeline_version=0,
        created_at=now,
        not_before=now,
        input_bytes=max(size, house.settings.worker.large_bytes),
    )
    session.add(job)
    pull.state, pull.job_id = PullState.OPEN.value, job.id


def _deliver(house: House, pull: Pull) -> None:
    if pull.job_id is not None:
        deliver_now(house, [pull.job_id])


def _checked(
    house: House, foreign: ForeignStores, wanted: WantedPull
) -> tuple[ForeignBucket | None, tuple[_Named, ...]]:
    most = house.settings.pulls.objects_per_request
    if (wanted.prefix is None) == (not wanted.sources):
        raise BadRequest("Name the files to pull, or a prefix of a bucket.")
    if len(wanted.sources) > most:
        hit = LimitHit("objects per pull", most, 0, len(wanted.sources))
        raise TooLarge(f"One pull may name {most} files; this one names {len(wanted.sources)}.", hit=hit)
    bucket = None if wanted.bucket is None else checked_bucket(foreign, wanted.bucket)
    if wanted.prefix is not None:
        if bucket is None:
            raise BadRequest("A prefix is one of a bucket.")
        _check_key(wanted.prefix)
        return bucket, ()
    return bucket, tuple(_named(house, foreign, bucket, each) for each in wanted.sources)


def checked_bucket(foreign: ForeignStores, bucket: ForeignBucket) -> ForeignBucket:
    """The bucket with its endpoint written out; raises BadRequest for what is none, or nowhere that may be asked."""
    if _BUCKET.fullmatch(bucket.bucket) is None or ".." in bucket.bucket:
        raise BadRequest("A bucket's name has 3 to 63 small letters, digits, dots and hyphens.")
    if _REGION.fullmatch(bucket.region) is None:
        raise BadRequest("This is no region's name.")
    keys = bucket.keys
    told = () if keys is None else (keys.access_key, keys.secret_key, keys.session_token or "")
    if not all(each.isascii() and each.isprintable() for each in told):
        raise BadRequest("Credentials are of printable ASCII.")
    # One way to write it, by which a bucket is found again when its keys are renewed.
    endpoint = bucket.endpoint.rstrip("/").lower().removesuffix(":443")
    endpoint = endpoint or f"https://s3.{bucket.region}.amazonaws.com"
    if endpoint.count("/") != 2:
        raise BadRequest("An endpoint is https://host, and nothing behind it.")
    _check_address(foreign, f"{endpoint}/")
    return replace(bucket, endpoint=endpoint)


def _check_address(foreign: ForeignStores, url: str) -> None:
    try:
        foreign.check(url)
    except SourceRefused as refused:
        raise BadRequest(str(refused)) from None


def _check_key(key: str) -> None:
    odd = any(not character.isprintable() for character in key) or any(part in (".", "..") for part in key.split("/"))
    if odd or len(key.encode()) > LONGEST_KEY:
        raise BadRequest(f"A key has at most {LONGEST_KEY} bytes, all of them printable, and no steps (`.`, `..`).")


def _named(house: House, foreign: ForeignStores, bucket: ForeignBucket | None, wanted: WantedSource) -> _Named:
    if bucket is None:
        _check_address(foreign, wanted.address)
        place, has_query, _ = wanted.address.partition("?")
        last = urllib.parse.unquote(place.rpartition("/")[2])
    else:
        _check_key(wanted.address)
        place, has_query = wanted.address, ""
        last = place.rpartition("/")[2]
    name = wanted.name if wanted.name is not None else last
    if fault := filenames.fault_of(name):
        raise BadRequest(f"{fault} Give each source a `name` that a file may have.")
    digest = None if wanted.sha256 is None else wanted.sha256.lower()
    if digest is not None and _SHA256.fullmatch(digest) is None:
        raise BadRequest("A SHA-256 has 64 hexadecimal digits.")
    if wanted.size is not None and not 0 <= wanted.size <= (limit := multipart.largest_file(house, wanted.category)):
        raise TooLarge(f"A file may have {limit} bytes.", hit=LimitHit("bytes per file", limit, 0, wanted.size))
    return _Named(replace(wanted, sha256=digest), name, place, wanted.address if has_query else None)


def _check_reference(house: House, bucket: ForeignBucket | None, sources: Sequence[_Named]) -> None:
    """What stays elsewhere must be readable for years: nothing that is signed for hours will do."""
    if not house.settings.pulls.references:
        raise BadRequest("This instance keeps a copy of every file: files can't only be referenced.")
    if bucket is not None and bucket.keys is not None and bucket.keys.session_token is not None:
        raise BadRequest("Temporary credentials end. A reference needs an access key that lasts.")
    if any(each.secret is not None for each in sources):
        raise BadRequest("A URL with a query is none that lasts. Name the bucket and its keys, or a public URL.")


def _needs_challenge(bucket: ForeignBucket | None, sources: Sequence[_Named]) -> bool:
    """Whether some of it is asked for without any credential: then everybody could name it."""
    return bucket.keys is None if bucket is not None else not all(is_signed(each.wanted.address) for each in sources)


def _make_sure_of_room(house: House, session: Session, actor: Actor, group_id: int, sources: Sequence[_Named]) -> None:
    """Refuse early what can't fit; each file is counted for good when it is pinned."""
    settings = house.settings.pulls
    known = [each.wanted.size for each in sources if each.wanted.size is not None]
    if sum(known) > settings.bytes_per_request:
        hit = LimitHit("bytes per pull", settings.bytes_per_request, 0, sum(known))
        raise TooLarge(f"One pull may have {hit.limit} bytes; this one has {hit.requested}.", hit=hit)
    wanted = quota.Wanted(group_id, actor.name, files=max(1, len(sources)), size=sum(known))
    quota.reserve(session, house.settings.limits, wanted, clock.read(session))
    if (now_open := open_pulls(session, group_id)) >= settings.open_per_group:
        hit = LimitHit("open pulls per group", settings.open_per_group, now_open, 1)
        raise TooMany(f"The group may have {hit.limit} pulls at a time.", hit=hit)


def _row(
    house: House, session: Session, actor: Actor, group_id: int, wanted: WantedPull, bucket: ForeignBucket | None
) -> Pull:
    now, pull_id = clock.read(session), str(uuid.uuid4())
    pull = Pull(
        id=pull_id,
        group_id=group_id,
        asked_by=actor.name,
        asked_at=now,
        expires_at=now + house.settings.pulls.hours * HOUR,
        state=PullState.OPEN.value,
        prefix=wanted.prefix,
        category=wanted.category,
        by_reference=wanted.by_reference,
    )
    if bucket is not None:
        pull.endpoint, pull.region, pull.bucket = bucket.endpoint, bucket.region, bucket.bucket
        if (keys := bucket.keys) is not None:
            told = json.dumps([keys.access_key, keys.secret_key, keys.session_token])
            pull.secret = conceal(house.settings.pulls, told, of_pull(pull_id))
    return pull


def _source_row(house: House, pull: Pull, number: int, each: _Named) -> PullSource:
    hidden = None
    if each.secret is not None:
        hidden = conceal(house.settings.pulls, each.secret, of_source(pull.id, number))
    return PullSource(
        pull_id=pull.id,
        number=number,
        name=each.name,
        place=each.place,
        secret=hidden,
        category=each.wanted.category,
        expected_size=each.wanted.size,
        expected_sha256=each.wanted.sha256,
        state=SourceState.WAITING.value,
    )


def _asked(wanted: WantedPull) -> list[object]:
    """All of a request with its credentials, for its fingerprint alone, which outlives them."""
    bucket = wanted.bucket
    keys = bucket.keys if bucket else None
    return [
        [[each.address, each.name, each.size, each.sha256, each.category] for each in wanted.sources],
        None if bucket is None else [bucket.endpoint, bucket.region, bucket.bucket],
        None if keys is None else [keys.access_key, keys.secret_key, keys.session_token],
        [wanted.prefix, wanted.category, *(["reference"] if wanted.by_reference else [])],
    ]
