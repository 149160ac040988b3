"""The client of readvault: log in, upload, submit, follow, review, approve, download. Needs httpx alone.

>>> with Client("http://127.0.0.1:8079") as readvault:  # doctest: +SKIP
...     readvault.login("alice", "secret")
...     tickets = readvault.request_uploads(group_id, [Path("reads_R1.fastq.gz"), Path("reads_R2.fastq.gz")])
...     for ticket in tickets:
...         readvault.upload(ticket)
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from readvault.client.line import Line
from readvault.client.transfer import (
    ATTEMPTS,
    PARTS_AT_ONCE,
    Answer,
    ClientError,
    Progress,
    Ticket,
    Transfer,
    nothing,
    readable,
    sha256_of,
)

__all__ = ["Client", "ClientError", "Progress", "Ticket", "files_cell"]

SECONDS_BEFORE_EXPIRY = 30
ARRIVED = ("uploaded", "completed", "sealed")
"""States of a file of which nothing is missing."""
LOGIN_CLIENT = "backend-client"
_TOKEN_PATH = "/realms/loculus/protocol/openid-connect/token"  # noqa: S105 - a path
_UNUSABLE_NAME = re.compile(r'[\s<>:"/\\|?*\x00-\x1f]')


def files_cell(tickets: Iterable[Ticket]) -> str:
    """The cell of a `files.<category>` column of the metadata that names these files."""
    return " ".join(f"{ticket.name}:{ticket.file_id}" for ticket in tickets)


class Client:
    """One user's (or, before `login`, an anonymous reader's) connection to a readvault instance.

    `identity_url` is the identity provider's address before `/realms/…`; without it the instance's
    own. Every method raises ClientError with a text that can be shown to the user.
    """

    def __init__(
        self,
        api_url: str,
        identity_url: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = httpx.Client(
            base_url=api_url.rstrip("/"), transport=transport, timeout=httpx.Timeout(300, connect=20)
        )
        self._token_url = (identity_url or api_url).rstrip("/") + _TOKEN_PATH
        self._transfer = Transfer(transport, pause=pause, clock=clock)
        self._pause = pause
        self._token: Answer | None = None
        self._expires = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()
        self._transfer.close()

    def login(self, user: str, password: str) -> None:
        """Log in; the token is renewed by itself as long as it can be."""
        self._take_token({"grant_type": "password", "username": user, "password": password})

    def create_group(self, name: str, *, institution: str, contact_email: str, address: Mapping[str, str]) -> int:
        """Make a group of which the user is the first member; its ID.

        `address` has line1, line2, city, state, postalCode, country.
        """
        body = {"groupName": name, "institution": institution, "contactEmail": contact_email, "address": dict(address)}
        return int(self._json("POST", "/groups", json=body)["groupId"])

    def groups(self) -> list[Answer]:
        """The user's groups."""
        return list(self._json("GET", "/user/groups"))

    @property
    def line(self) -> Line:
        """What was seen of the line to the storage."""
        return self._transfer.line

    def request_uploads(
        self,
        group_id: int,
        paths: Sequence[Path],
        *,
        category: str | None = None,
        multipart: bool = False,
        bytes_per_second: float | None = None,
        hashes: Mapping[Path, str] | None = None,
        key: str | None = None,
    ) -> list[Ticket]:
        """Announce files with their size and SHA-256 (each is read once, unless `hashes` has it); where each goes.

        `multipart` asks for uploads that can be resumed part by part, for files that are large enough;
        a part takes about 15 seconds at `bytes_per_second`. The same request with the same `key` gets
        the same files.
        """
        if bad := [path.name for path in paths if _UNUSABLE_NAME.search(path.name)]:
            raise ClientError('File names may hold neither whitespace nor < > : " / \\ | ? *. Rename ' + ", ".join(bad))
        known = hashes or {}
        files = [
            {"name": path.name, "size": path.stat().st_size, "sha256": known.get(path) or sha256_of(path),
             "category": category}
            for path in paths
        ]  # fmt: skip
        body = {"groupId": group_id, "files": files, "multipart": multipart, "bytesPerSecond": bytes_per_second}
        headers = {} if key is None else {"Idempotency-Key": key}
        answers = self._json("POST", "/files/request-uploads", json=body, headers=headers)
        return [Ticket.of(path, answer) for path, answer in zip(paths, answers, strict=True)]

    def resume(self, file_id: str, path: Path) -> Ticket:
        """The ticket of an upload that broke off, perhaps in another process; `upload` goes on with it.

        Of a file in parts only those are sent that are missing; a file in one piece gets a fresh URL.
        """
        state = self.file_state(file_id)
        size = path.stat().st_size
        if state["state"] == "expired" or state["declaredSize"] != size:
            raise ClientError(f"The upload {file_id} can't be resumed with {path.name}.", 409)
        if state["state"] in ARRIVED:
            return Ticket(path, file_id, path.name, size, already_yours=True)
        if state["partCount"] is None:
            return Ticket(path, file_id, path.name, size, put=self._json("POST", f"/files/{file_id}/url"))
        return Ticket(path, file_id, path.name, size, part_size=state["partSize"], part_count=state["partCount"])

    def file_state(self, file_id: str) -> Answer:
        """What became of an upload, and which parts of it have arrived."""
        return dict(self._json("GET", f"/files/{file_id}"))

    def upload(self, ticket: Ticket, progress: Progress = nothing, *, parts_at_once: int = PARTS_AT_ONCE) -> None:
        """Send the file of a ticket. Called again after a failure, a multipart upload sends only what is missing."""
        if ticket.already_yours:
            progress(ticket.size)
        elif ticket.put is not None:
            self._transfer.put(ticket.put, ticket.path, 0, ticket.size, progress)
        else:
            self._upload_parts(ticket, progress, parts_at_once)

    def submit(
        self,
        organism: str,
        group_id: int,
        metadata: str | bytes,
        sequences: str | bytes | None = None,
        *,
        terms: str | None = "OPEN",
        restricted_until: str | None = None,
    ) -> list[Answer]:
        """Submit a metadata TSV, perhaps with a consensus FASTA; the accession versions that came into being."""
        parts: dict[str, tuple[str, str | bytes]] = {"metadataFile": ("metadata.tsv", metadata)}
        if sequences is not None:
            parts["sequenceFile"] = ("sequences.fasta", sequences)
        form = {"groupId": str(group_id), "dataUseTermsType": terms, "restrictedUntil": restricted_until}
        data = {key: value for key, value in form.items() if value is not None}
        return list(self._json("POST", f"/{organism}/submit", data=data, files=parts))

    def entries(self, organism: str, **filters: str | int) -> Answer:
        """The user's entries and how many there are of each status; filters as in the API, for example `page=0`."""
        return dict(self._json("GET", f"/{organism}/get-sequences", params=filters))

    def review(self, organism: str, accession: str, version: int) -> Answer:
        """All there is to review of a version, with fresh URLs of originals and processed files."""
        return dict(self._json("GET", f"/{organism}/review/{accession}/{version}"))

    def wait_until_processed(
        self,
        organism: str,
        accession: str,
        version: int,
        *,
        seconds: float = 600,
        every: float = 1.0,
        on_status: Callable[[str], None] | None = None,
    ) -> Answer:
        """Wait until a version is processed; its review data. `on_status` hears each status once.

        Raises ClientError when time is up, or when the failure is on the instance's side for good.
        """
        end = time.monotonic() + seconds
        last = None
        while True:
            review = self.review(organism, accession, version)
            if review["status"] != last and on_status is not None:
                on_status(review["status"])
            last = review["status"]
            if last in ("PROCESSED", "APPROVED_FOR_RELEASE"):
                return review
            if (review["job"] or {}).get("state") == "needs attention":
                raise ClientError(f"{accession}.{version} can't be processed now: a maintainer has to look at it.")
            if time.monotonic() >= end:
                raise ClientError(f"{accession}.{version} is still {last} after {seconds:.0f} seconds.")
            self._pause(every)

    def approve(self, organism: str, versions: Iterable[tuple[str, int, str | None]]) -> list[Answer]:
        """Approve versions for release, each with the manifest digest that was reviewed: all of them or none."""
        chosen = [{"accession": a, "version": v, "manifestDigest": digest} for a, v, digest in versions]
        body = {"scope": "ALL", "accessionVersionsFilter": chosen}
        return list(self._json("POST", f"/{organism}/approve-processed-data", json=body))

    def download(
        self,
        accession: str,
        version: int,
        category: str,
        name: str,
        target: Path,
        *,
        sha256: str | None = None,
        progress: Progress = nothing,
    ) -> str:
        """Download a processed file to `target`; its SHA-256 (hexadecimal).

        With `sha256` other bytes are never kept: they are fetched anew, and ClientError raised when they stay others.
        """

        def locate() -> str:
            response = self._send("GET", f"/files/get/{accession}/{version}/{quote(category)}/{quote(name)}")
            return str(response.headers["location"])

        return self._transfer.get(locate, target, progress, sha256=sha256)

    def _upload_parts(self, ticket: Ticket, progress: Progress, at_once: int) -> None:
        state = self.file_state(ticket.file_id)
        if state["state"] in ARRIVED:
            progress(ticket.size)
            return
        sign = partial(self._signed_parts, ticket.file_id)
        etags = self._transfer.put_parts(ticket, state["parts"], sign, progress, at_once=at_once)
        self._send("POST", f"/files/{ticket.file_id}/complete", json={"etags": etags})

    def _signed_parts(self, file_id: str, numbers: list[int]) -> list[Answer]:
        return list(self._json("POST", f"/files/{file_id}/parts", json={"numbers": numbers})) if numbers else []

    def _json(self, method: str, path: str, **request: Any) -> Any:
        return self._send(method, path, **request).json()

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        refresh = None if self._token is None else self._token.get("refresh_token")
        if refresh and time.monotonic() > self._expires - SECONDS_BEFORE_EXPIRY:
            self._take_token({"grant_type": "refresh_token", "refresh_token": refresh})
        token = {} if self._token is None else {"Authorization": f"Bearer {self._token['access_token']}"}
        headers = {**token, **request.pop("headers", {})}
        return self._answered(method, path, headers=headers, **request)

    def _take_token(self, form: dict[str, str]) -> None:
        token = self._answered("POST", self._token_url, data={"client_id": LOGIN_CLIENT, **form}).json()
        self._expires = time.monotonic() + float(token["expires_in"])
        self._token = token

    def _answered(self, method: str, address: str, **request: Any) -> httpx.Response:
        # What changes something is sent once by us, unless its key tells the server that it is the same request.
        attempts = ATTEMPTS if method == "GET" or "Idempotency-Key" in request.get("headers", {}) else 1
        for attempt in range(1, attempts + 1):
            try:
                response = self._http.request(method, address, **request)
            except httpx.TransportError as fault:
                if attempt == attempts:
                    raise ClientError(f"readvault can't be reached ({type(fault).__name__}).") from fault
            else:
                if response.status_code < 400:
                    return response
                if response.status_code not in (502, 503, 504) or attempt == attempts:
                    raise ClientError(readable(response), response.status_code)
            self._pause(2.0 ** (attempt - 1))
        raise AssertionError("every last attempt returns or raises")
