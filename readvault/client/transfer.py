"""Moving bytes between local files and S3 with pre-signed requests. Part of the client: httpx alone.

No text of an error here names a URL: a pre-signed URL is a credential while it lives.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from readvault.client.draft import Draft
from readvault.client.line import Line

Answer = dict[str, Any]
Progress = Callable[[int], None]
"""Called with the number of bytes that went; negative when some have to go again. Perhaps from several threads."""
Sign = Callable[[list[int]], list[Answer]]

BLOCK = 2**20
ATTEMPTS = 4
PARTS_PER_PAGE = 100
PARTS_AT_ONCE = 4
TIMEOUT = httpx.Timeout(60.0, read=300.0, write=300.0)
_DAMAGED = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody"}
"""S3's words for a body that isn't the one we sent. It kept nothing of it."""
_S3_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,80})</Code>")


class ClientError(Exception):
    """Something that the user can read. `status` is the HTTP status, None when nobody answered, 0 for a local fault."""

    def __init__(self, text: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Where one local file goes. Holds signed requests: a secret until they expire."""

    path: Path
    file_id: str
    name: str
    size: int
    already_yours: bool = False
    put: Mapping[str, Any] | None = None
    part_size: int | None = None
    part_count: int = 0
    parts: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, path: Path, answer: Answer) -> Ticket:
        """The ticket in the API's answer for a file."""
        plan = answer["multipart"] or {"partSize": None, "partCount": 0, "parts": []}
        return cls(
            path=path,
            file_id=answer["fileId"],
            name=path.name,
            size=path.stat().st_size,
            already_yours=answer["alreadyYours"],
            put=answer["put"],
            part_size=plan["partSize"],
            part_count=plan["partCount"],
            parts=tuple(plan["parts"]),
        )

    def pieces(self) -> dict[int, tuple[int, int]]:
        """Offset and length of each part, by its number from 1; raises ClientError when the file isn't cut."""
        if not self.part_size or self.part_count < 1:
            raise ClientError(f"There is no address to upload {self.name} to.")
        offsets = {number: (number - 1) * self.part_size for number in range(1, self.part_count + 1)}
        return {number: (at, min(self.part_size, self.size - at)) for number, at in offsets.items()}


def nothing(_: int) -> None:
    """No progress is shown."""


def sha256_of(path: Path) -> str:
    """The SHA-256 (hexadecimal) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Transfer:
    """Puts and gets with retries; `pause` waits some seconds between them."""

    def __init__(
        self,
        transport: httpx.BaseTransport | None = None,
        *,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # A client of its own, without the token: S3 must never see it.
        self._http = httpx.Client(timeout=TIMEOUT, transport=transport)
        self._pause = pause
        self._clock = clock
        self.line = Line()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def put(self, signed: Mapping[str, Any], path: Path, offset: int, length: int, progress: Progress) -> str:
        """Send a piece of a file once; the ETag. Bytes that didn't arrive are sent again.

        Raises ClientError with `status` 403 when the signature has expired or the piece isn't what was declared.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = self._put_once(signed, path, offset, length, progress)
            except httpx.TransportError as fault:
                if attempt == ATTEMPTS:
                    raise ClientError(f"The upload of {path.name} broke off ({type(fault).__name__}).") from fault
            else:
                if response.is_success:
                    return str(response.headers.get("ETag", ""))
                progress(-length)
                if response.status_code == 412 and attempt > 1:
                    progress(length)  # the earlier attempt had arrived, only its answer was lost
                    return ""
                if not _may_recover(response) or attempt == ATTEMPTS:
                    raise _refused("upload", path.name, response)
            self._pause(2.0 ** (attempt - 1))
        raise AssertionError("every last attempt returns or raises")

    def put_parts(
        self,
        ticket: Ticket,
        arrived: Sequence[Answer],
        sign: Sign,
        progress: Progress,
        *,
        at_once: int = PARTS_AT_ONCE,
    ) -> list[str]:
        """Send the parts of a file that haven't arrived, several at once; the ETags of all, in order.

        Parts of another size than theirs are sent again, and so is one whose signature has expired.
        """
        pieces = ticket.pieces()
        etags = {
            part["number"]: part["etag"] for part in arrived if part["size"] == pieces.get(part["number"], (0, -1))[1]
        }
        progress(sum(pieces[number][1] for number in etags))
        signed = {part["number"]: part for part in ticket.parts}
        missing = [number for number in pieces if number not in etags]

        def send(number: int) -> str:
            try:
                return self.put(signed[number], ticket.path, *pieces[number], progress)
            except ClientError as fault:
                if fault.status != 403:
                    raise
            (fresh,) = sign([number])
            return self.put(fresh, ticket.path, *pieces[number], progress)

        with ThreadPoolExecutor(at_once) as pool:
            for start in range(0, len(missing), PARTS_PER_PAGE):
                page = missing[start : start + PARTS_PER_PAGE]
                if unsigned := [number for number in page if number not in signed]:
                    signed |= {part["number"]: part for part in sign(unsigned)}
                etags |= dict(zip(page, pool.map(send, page), strict=True))
        return [etags[number] for number in sorted(etags)]

    def _put_once(
        self, signed: Mapping[str, Any], path: Path, offset: int, length: int, progress: Progress
    ) -> httpx.Response:
        sent, began = 0, self._clock()

        def body() -> Iterator[bytes]:
            nonlocal sent
            for block in _blocks(path, offset, length):
                yield block
                sent += len(block)
                progress(len(block))

        headers = {**signed["headers"], "Content-Length": str(length)}
        if not any(name.lower() == "x-amz-checksum-sha256" for name in headers):
            headers["Content-MD5"] = _md5(path, offset, length)  # then S3 refuses what isn't what we sent
        try:
            response = self._http.put(signed["url"], headers=headers, content=body())
        except httpx.TransportError:
            progress(-sent)
            if sent:
                self.line.broke(self._clock() - began)
            raise
        if response.is_success:
            self.line.arrived(length, self._clock() - began)
        progress(length - sent)
        return response

    def get(self, locate: Callable[[], str], target: Path, progress: Progress, *, sha256: str | None = None) -> str:
        """Download to `target`, which appears only when it is whole; its SHA-256 (hexadecimal).

        `locate` gives a fresh URL for each attempt; an attempt goes on where the last one broke off.
        Other bytes than those with this `sha256` are fetched anew; raises ClientError when they stay others.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        path = target.with_name(f".{target.name}.part")
        try:
            for _ in range(ATTEMPTS):
                with path.open("wb") as file:
                    draft = Draft(file, progress)
                    self._fill(draft, locate, target.name)
                if sha256 in (None, draft.digest.hexdigest()):
                    path.replace(target)
                    return draft.digest.hexdigest()
                progress(-draft.size)
        finally:
            path.unlink(missing_ok=True)
        raise ClientError(f"{target.name} has another SHA-256 than it should have; it was not kept.")

    def _fill(self, draft: Draft, locate: Callable[[], str], name: str) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={draft.size}-"} if draft.size else {})
            try:
                with self._http.stream("GET", locate(), headers=headers) as response:
                    if response.is_success:
                        draft.take(response)
                        return
                    response.read()
                    if not _may_recover(response) or attempt == ATTEMPTS:
                        raise _refused("download", name, response)
            except httpx.TransportError as fault:
                if attempt == ATTEMPTS:
                    raise ClientError(f"The download of {name} broke off ({type(fault).__name__}).") from fault
            self._pause(2.0 ** (attempt - 1))


def _blocks(path: Path, offset: int, length: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        left = length
        while left > 0:
            block = file.read(min(BLOCK, left))
            if not block:
                raise ClientError(f"{path.name} became shorter while it was uploaded.", 0)
            left -= len(block)
            yield block


def _md5(path: Path, offset: int, length: int) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for block in _blocks(path, offset, length):
        digest.update(block)
    return base64.b64encode(digest.digest()).decode()


def _may_recover(response: httpx.Response) -> bool:
    if response.status_code == 400:
        code = _S3_CODE.search(response.content)
        return code is not None and code[1].decode() in _DAMAGED
    return response.status_code >= 500 or response.status_code in (408, 409, 429)


def _refused(what: str, name: str, response: httpx.Response) -> ClientError:
    code = _S3_CODE.search(response.content)
    reason = f"HTTP {response.status_code}" + (f", {code[1].decode()}" if code else "")
    hint = {
        403: " Its address has expired, or the file isn't what was declared: ask for a new upload.",
        412: " It was uploaded already.",
    }.get(response.status_code, "")
    return ClientError(f"The storage refused the {what} of {name} ({reason}).{hint}", response.status_code)


def readable(response: httpx.Response) -> str:
    """The sentence that the server wrote for people, whichever shape the error has."""
    try:
        body = response.json()
    except ValueError:
        body = {}
    said = body if isinstance(body, dict) else {}
    text = said.get("detail") or said.get("error_description") or said.get("title")
    if text is None and response.status_code == 401:
        text = "The login isn't valid (any more): log in again."
    return f"{text or response.reason_phrase} (HTTP {response.status_code})"
