"""Submitters' own stores behind `ports.ForeignStores`: S3 buckets, and single objects by URL.

Requests are signed here, by botocore's own signer with exactly the keys that were given: no client of
boto3's is made, so nothing can pick up credentials from the environment, a profile or a metadata
service. Everything goes out through `Egress`.
"""

from __future__ import annotations

import contextlib
import logging
import re
import urllib.parse
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from readvault.adapters.egress import ANSWER_WITHIN, Answer, Egress
from readvault.adapters.s3_attachment import attachment
from readvault.config.pulls import PullSettings
from readvault.domain.pulls import Refusal, SourceAway, SourceRefused, unsigned
from readvault.ports import ForeignAddress, ForeignBucket, ForeignKeys, ForeignObject

# At DEBUG it writes what it signs, a submitter's session token with it, whatever level a process logs at.
logging.getLogger("botocore.auth").setLevel(logging.WARNING)

PAGE = 1000
BYTES_OF_PAGE = 8 * 2**20
BYTES_OF_ERROR = 8 * 2**10
_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18})")
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')
_VERSION = re.compile(r"[\x21-\x7e]{1,1024}")
_BUSY = {408, 425, 429}
_WAIT = {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "RequestTimeTooSkewed"}
"""The last one with 403: it is our clock, or theirs, and no submitter could mend it."""


class ForeignS3:
    """Other people's stores, through the guard. Safe to share between threads."""

    def __init__(self, settings: PullSettings, egress: Egress | None = None) -> None:
        self._settings = settings
        self._egress = egress or Egress(settings)

    def check(self, url: str) -> None:
        """Refuse an address that nobody here will ever ask; nothing is asked."""
        self._egress.place(url)

    def address_in(self, bucket: ForeignBucket, key: str) -> ForeignAddress:
        """An object of a bucket, by its path: so the host is the endpoint's and nothing else."""
        path = urllib.parse.quote(f"{bucket.bucket}/{key}", safe="/~")
        return ForeignAddress(f"{bucket.endpoint.rstrip('/')}/{path}", bucket.region, bucket.keys)

    def look(self, address: ForeignAddress) -> ForeignObject:
        """What pins an object as it is now: its first byte is asked for, as a URL may be signed for GET alone."""
        with self._get(address, {"Range": "bytes=0-0"}) as answer:
            size, told = _size_of(answer), answer.headers
        if size is None:  # no byte to send a range of: some say nothing else then
            with self._get(address, {}) as answer:
                size, told = _size_of(answer), answer.headers
        if size is None:
            raise SourceRefused(Refusal.BAD_ANSWER, "The source does not tell its size.")
        etag, version_id = told.get("etag", ""), told.get("x-amz-version-id")
        if _ETAG.fullmatch(etag) is None:
            raise SourceRefused(Refusal.NOT_PINNABLE, "The source has no strong ETag, by which it could be pinned.")
        if version_id in ("null", "") or (version_id and _VERSION.fullmatch(version_id) is None):
            version_id = None
        return ForeignObject(size, etag, version_id)

    def is_public(self, address: ForeignAddress) -> bool:
        """Whether anybody may read it: without keys, without the URL's query, and without what signs it alone.

        A query may choose an object, or an old version of one, that nothing else leads to.
        """
        for url in dict.fromkeys((address.url.partition("?")[0], unsigned(address.url))):
            with self._get(ForeignAddress(url), {"Range": "bytes=0-0"}) as answer:
                if answer.status in (200, 206, 416):
                    return True
                if answer.status not in (400, 401, 403, 404):
                    raise _refusal(answer)
        return False

    def listing(self, bucket: ForeignBucket, prefix: str, *, at_most: int) -> list[tuple[str, int]]:
        """Keys and sizes under a prefix; refused when there are more than so many."""
        found: list[tuple[str, int]] = []
        token: str | None = None
        for _ in range(at_most // PAGE + 2):
            page, token = self._page(bucket, prefix, token)
            found += page
            if len(found) > at_most:
                message = f"There are more than {at_most} objects under the prefix. Ask for a longer prefix."
                raise SourceRefused(Refusal.LIMIT, message)
            if token is None:
                return found
        raise SourceRefused(Refusal.BAD_ANSWER, "The list of the bucket has no end.")

    def _page(self, bucket: ForeignBucket, prefix: str, token: str | None) -> tuple[list[tuple[str, int]], str | None]:
        asked = {"list-type": "2", "max-keys": str(PAGE), "prefix": prefix}
        if token is not None:
            asked["continuation-token"] = token
        query = urllib.parse.urlencode(sorted(asked.items()), quote_via=urllib.parse.quote, safe="~")
        name = urllib.parse.quote(bucket.bucket, safe="")
        address = ForeignAddress(f"{bucket.endpoint.rstrip('/')}/{name}?{query}", bucket.region, bucket.keys)
        with self._get(address, {}, within=2 * ANSWER_WITHIN) as answer:
            if answer.status != 200:
                raise _refusal(answer)
            return _parsed(_up_to(answer.pieces, BYTES_OF_PAGE), prefix)

    def read(
        self, address: ForeignAddress, pinned: ForeignObject, start: int, length: int, check: Callable[[], None]
    ) -> bytes:
        """So many bytes from there on, of exactly the pinned object, at the minimum rate or faster."""
        if length == 0:
            return b""
        if pinned.version_id is not None and address.keys is not None:
            query = urllib.parse.urlencode({"versionId": pinned.version_id}, quote_via=urllib.parse.quote)
            address = ForeignAddress(f"{address.url}?{query}", address.region, address.keys)
        headers = {"Range": f"bytes={start}-{start + length - 1}", "If-Match": pinned.etag}
        within = ANSWER_WITHIN + length / self._settings.minimum_rate
        with self._get(address, headers, within=within) as answer:
            _check_pinned(answer, pinned, start, length)
            body = bytearray()
            for piece in answer.pieces:
                check()
                body += piece
                if len(body) > length:
                    raise SourceRefused(Refusal.WRONG_SIZE, "The source sends more bytes than it was asked for.")
        if len(body) < length:
            raise SourceAway("The source broke off.")
        return bytes(body)

    def sign_get(
        self, address: ForeignAddress, version_id: str | None, *, name: str, expires: int, head: bool = False
    ) -> str:
        """A URL that downloads an object under `name` for so many seconds; a public object's own URL."""
        place = self._egress.place(address.url)
        if address.keys is None:
            return place.url
        told = {
            "response-content-disposition": attachment(name),
            "response-content-type": "application/octet-stream",
            **({"versionId": version_id} if version_id is not None else {}),
        }
        query = urllib.parse.urlencode(told, quote_via=urllib.parse.quote, safe="~")
        request = AWSRequest("HEAD" if head else "GET", f"{place.url}?{query}")
        S3SigV4QueryAuth(_credentials(address.keys), "s3", address.region, expires=expires).add_auth(request)
        return str(request.url)

    def note(self, address: ForeignAddress, *, at_most: int) -> bytes | None:
        """The bytes of a small object; None when it isn't there or is larger."""
        with self._get(address, {}) as answer:
            if answer.status in (400, 401, 403, 404, 410):
                return None
            if answer.status != 200:
                raise _refusal(answer)
            with contextlib.suppress(SourceRefused):
                return _up_to(answer.pieces, at_most)
            return None

    @contextlib.contextmanager
    def _get(
        self, address: ForeignAddress, headers: Mapping[str, str], *, within: float = ANSWER_WITHIN
    ) -> Iterator[Answer]:
        place = self._egress.place(address.url)
        signed = dict(headers)
        if address.keys is not None:
            request = AWSRequest("GET", place.url, headers=signed)
            S3SigV4Auth(_credentials(address.keys), "s3", address.region).add_auth(request)
            signed = {str(name): str(value) for name, value in request.headers.items()}
        with self._egress.get(place.url, signed, within=within) as answer:
            yield answer


def _credentials(keys: ForeignKeys) -> Credentials:
    return Credentials(keys.access_key, keys.secret_key, keys.session_token)


def _size_of(answer: Answer) -> int | None:
    """The size (bytes) of an object by the answer to a request for its first byte; None for one that may be empty."""
    if answer.status == 200:
        if answer.headers.get("content-length") == "0":
            return 0
        raise SourceRefused(Refusal.NOT_PINNABLE, "The source does not answer requests for ranges.")
    if answer.status == 416:
        return None
    if answer.status != 206:
        raise _refusal(answer)
    match = _RANGE.fullmatch(answer.headers.get("content-range", ""))
    return int(match[3]) if match is not None and match[1] == "0" else None


def _check_pinned(answer: Answer, pinned: ForeignObject, start: int, length: int) -> None:
    """Refuse an answer that isn't the asked range of the pinned object, as far as its headers tell."""
    changed = SourceRefused(Refusal.CHANGED, "The source has changed since it was first looked at.")
    if answer.status in (412, 416):
        raise changed
    if answer.status == 200:
        raise SourceRefused(Refusal.BAD_ANSWER, "The source does not answer requests for ranges.")
    if answer.status != 206:
        raise _refusal(answer)
    match = _RANGE.fullmatch(answer.headers.get("content-range", ""))
    if match is None or match[1] is None:
        raise SourceRefused(Refusal.BAD_ANSWER, "The source does not tell which range it sends.")
    if answer.headers.get("etag") != pinned.etag or int(match[3]) != pinned.size:
        raise changed
    if (int(match[1]), int(match[2])) != (start, start + length - 1):
        raise SourceRefused(Refusal.BAD_ANSWER, "The source sends another range than it was asked for.")


def _refusal(answer: Answer) -> SourceRefused | SourceAway:
    """What an answer other than success means for the submitter; of its body only S3's code is told."""
    found = None
    with contextlib.suppress(SourceRefused, SourceAway):
        found = _CODE.search(_up_to(answer.pieces, BYTES_OF_ERROR))
    code = found[1].decode() if found else ""
    told = f"HTTP {answer.status}{f', {code}' if code else ''}"
    if answer.status >= 500 or answer.status in _BUSY or code in _WAIT:
        return SourceAway(f"The source is not available ({told}).")
    if answer.status in (404, 410):
        return SourceRefused(Refusal.MISSING, f"There is no such object or bucket at the source ({told}).")
    if answer.status in (400, 401, 403):
        return SourceRefused(Refusal.DENIED, f"The source refuses access ({told}).")
    return SourceRefused(Refusal.BAD_ANSWER, f"The source gives an answer that we don't understand ({told}).")


def _up_to(pieces: Iterator[bytes], limit: int) -> bytes:
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > limit:
            raise SourceRefused(Refusal.BAD_ANSWER, "The source's answer is too long.")
    return bytes(body)


def _parsed(body: bytes, prefix: str) -> tuple[list[tuple[str, int]], str | None]:
    """The keys and sizes of one page, and the token of the next one."""
    wrong = SourceRefused(Refusal.BAD_ANSWER, "The list of the bucket can't be read.")
    try:
        text = body.decode("utf-8")
        if "<!" in text:  # entities and document types, of which S3 has none
            raise wrong
        root = ElementTree.fromstring(text)  # noqa: S314 - what makes XML dangerous is refused above
        texts = [{_name(part): part.text or "" for part in each} for each in root if _name(each) == "Contents"]
        found = [(each["Key"], int(each["Size"])) for each in texts]
        about = {_name(part): part.text or "" for part in root}
    except (ElementTree.ParseError, KeyError, ValueError):
        raise wrong from None
    if any(not key.startswith(prefix) or size < 0 for key, size in found):
        raise wrong
    token = about.get("NextContinuationToken") or None
    if about.get("IsTruncated") == "true" and token is None:
        raise wrong
    objects = [(key, size) for key, size in found if not key.endswith("/")]  # folders are objects of no bytes
    return objects, token if about.get("IsTruncated") == "true" else None


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
