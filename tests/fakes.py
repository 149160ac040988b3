"""Stand-ins for what readvault does not own: a store with versions in memory, an orchestrator that writes down."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from readvault.domain.errors import BytesLost, ProcessingFailure, StoreUnavailable, Unprocessable
from readvault.ports import (
    Delivery,
    ListedVersion,
    RunState,
    SignedForm,
    SignedRequest,
    StoredVersion,
    UnfinishedUpload,
    UploadedPart,
)
from tests import transactions


class Refused(Exception):
    """What S3 answers to a bad request: its status code."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(str(status))


@dataclass
class _Signature:
    key: str
    size: int | None
    sha256: str | None = None
    once: bool = False
    upload_id: str | None = None
    number: int = 0


@dataclass
class MemoryStore:
    """A versioned bucket in memory. `put` is the client's side of a signed request."""

    versions: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)
    uploads: dict[str, tuple[str, dict[int, bytes]]] = field(default_factory=dict)
    locked: dict[tuple[str, str | None], float] = field(default_factory=dict)
    modified: dict[str, float] = field(default_factory=dict)
    """When a version was written, by its ID, where a test cares."""
    calls: list[str] = field(default_factory=list)
    down: bool = False
    lists_checksums: bool = True
    """Whether a list of parts has their checksums: not every S3 tells them."""
    _signed: dict[str, _Signature] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def _call(self, name: str) -> None:
        transactions.refuse_to_wait(name)
        self.calls.append(name)
        if self.down:
            raise StoreUnavailable(name, "the store can't be reached")

    def _sign(self, signature: _Signature) -> SignedRequest:
        url = f"memory://{signature.key}?signature={next(self._numbers)}"
        self._signed[url] = signature
        headers = {"If-None-Match": "*"} if signature.once else {}
        if signature.size is not None:
            headers["Content-Length"] = str(signature.size)
        return SignedRequest(url, headers)

    def put(self, request: SignedRequest, data: bytes) -> str:
        """Send a body to a signed request; the ETag. Raises Refused as S3 would."""
        signature = self._signed.get(request.url)
        if signature is None or (signature.size is not None and signature.size != len(data)):
            raise Refused(403)
        if signature.sha256 is not None and hashlib.sha256(data).hexdigest() != signature.sha256:
            raise Refused(400)
        etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        if signature.upload_id is not None:
            if signature.upload_id not in self.uploads:
                raise Refused(404)
            self.uploads[signature.upload_id][1][signature.number] = data
        elif signature.once and self.versions.get(signature.key):
            raise Refused(412)
        else:
            self.write(signature.key, data)
        return etag

    def write(self, key: str, data: bytes) -> StoredVersion:
        """Add a version behind everybody's back."""
        version_id = f"v{next(self._numbers)}"
        self.versions.setdefault(key, []).append((version_id, data))
        return StoredVersion(key, version_id, len(data))

    def read(self, stored: StoredVersion) -> bytes:
        """The bytes of a version."""
        for version_id, data in self.versions.get(stored.key, []):
            if version_id == stored.version_id:
                return data
        raise BytesLost("fetch", "the store has no such version")

    def sign_put(self, key: str, *, size: int | None, sha256: str | None, expires: int) -> SignedRequest:
        self._call("sign_put")
        return self._sign(_Signature(key, size, sha256, once=True))

    def sign_form(self, key: str, *, max_size: int, expires: int) -> SignedForm:
        self._call("sign_form")
        return SignedForm(f"memory://forms?signature={next(self._numbers)}", {"key": key, "most": str(max_size)})

    def post(self, form: SignedForm, data: bytes) -> None:
        """Send a form. Raises Refused as S3 would."""
        if not 1 <= len(data) <= int(form.fields["most"]):
            raise Refused(400)
        self.write(form.fields["key"], data)

    def sign_get(self, key: str, version_id: str | None, *, name: str, expires: int, head: bool = False) -> str:
        self._call("sign_get")
        return f"memory://{key}?versionId={version_id}&method={'HEAD' if head else 'GET'}"

    def start_multipart(self, key: str, *, part_hashes: bool = False) -> str:
        self._call("start_multipart")
        upload_id = f"upload{next(self._numbers)}"
        self.uploads[upload_id] = (key, {})
        return upload_id

    def sign_part(
        self, key: str, upload_id: str, number: int, *, size: int | None, expires: int, sha256: str | None = None
    ) -> SignedRequest:
        self._call("sign_part")
        return self._sign(_Signature(key, size, sha256, upload_id=upload_id, number=number))

    def list_parts(self, key: str, upload_id: str) -> list[UploadedPart]:
        self._call("list_parts")
        if upload_id not in self.uploads:
            raise ProcessingFailure("upload", "S3 answered NoSuchUpload")
        parts = self.uploads[upload_id][1]
        listed = [self._part(number, parts[number]) for number in sorted(parts)]
        return listed if self.lists_checksums else [replace(part, checksum=None) for part in listed]

    def put_part(self, key: str, upload_id: str, number: int, body: bytes) -> tuple[UploadedPart, bool]:
        self._call("put_part")
        if upload_id not in self.uploads:
            raise ProcessingFailure("upload", "S3 answered NoSuchUpload")
        self.uploads[upload_id][1][number] = body
        return self._part(number, body), True

    def put_bytes(self, key: str, body: bytes, *, sha256: str) -> StoredVersion:
        self._call("put_bytes")
        if hashlib.sha256(body).hexdigest() != sha256:
            raise ProcessingFailure("store", "the bytes changed on the way")
        for version_id, present in self.versions.get(key, []):
            if present == body:
                return StoredVersion(key, version_id, len(body))
        if self.versions.get(key):
            raise ProcessingFailure("stage", "integrity: other bytes stand under this key in S3")
        return self.write(key, body)

    @staticmethod
    def _part(number: int, body: bytes) -> UploadedPart:
        checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
        return UploadedPart(number, hashlib.md5(body, usedforsecurity=False).hexdigest(), len(body), checksum)

    def complete_multipart(
        self,
        key: str,
        upload_id: str,
        parts: list[tuple[int, str]],
        *,
        checksums: Mapping[int, str] | None = None,
    ) -> None:
        self._call("complete_multipart")
        if upload_id not in self.uploads:
            if self.versions.get(key):
                return
            raise Unprocessable("The multipart upload does not exist any more. Please request a new one.")
        etags = {part.number: part.etag for part in self.list_parts(key, upload_id)}
        if any(etags.get(number) != etag.strip('"') for number, etag in parts):
            raise Unprocessable("One or more of the specified parts could not be found.")
        if self.versions.get(key):
            return
        _, data = self.uploads.pop(upload_id)
        self.write(key, b"".join(data[number] for number, _ in parts))

    def abort_multipart(self, key: str, upload_id: str) -> None:
        self._call("abort_multipart")
        self.uploads.pop(upload_id, None)

    def list_versions(self, prefix: str) -> Iterator[StoredVersion]:
        self._call("list_versions")
        for key in sorted(key for key in self.versions if key.startswith(prefix)):
            for version_id, data in self.versions[key]:
                yield StoredVersion(key, version_id, len(data))

    def walk(self, prefix: str, *, after: str | None = None) -> Iterator[ListedVersion]:
        self._call("walk")
        for key in sorted(key for key in self.versions if key.startswith(prefix) and (after is None or key > after)):
            for place, (version_id, data) in enumerate(reversed(self.versions[key])):
                stored = StoredVersion(key, version_id, len(data))
                yield ListedVersion(stored, self.modified.get(version_id, 0.0), newest=place == 0, deleted=False)

    def unfinished_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        self._call("unfinished_uploads")
        yield from (
            UnfinishedUpload(key, name, 0.0) for name, (key, _) in self.uploads.items() if key.startswith(prefix)
        )

    def sha256_of(
        self, stored: StoredVersion, *, progress: Callable[[int], None] | None = None, expected: str | None = None
    ) -> str:
        self._call("sha256_of")
        data = next((data for name, data in self.versions.get(stored.key, []) if name == stored.version_id), None)
        if data is None or len(data) != stored.size:
            raise BytesLost("fetch", "the store has no such version")
        if progress is not None:
            progress(len(data))
        return hashlib.sha256(data).hexdigest()

    def delete(self, stored: StoredVersion, *, bypass: bool = False) -> bool:
        self._call("delete")
        if (stored.key, stored.version_id) in self.locked and not bypass:
            return False
        if stored.key not in self.versions:
            return True
        kept = [each for each in self.versions.get(stored.key, []) if each[0] != stored.version_id]
        self.versions[stored.key] = kept
        if not kept:
            del self.versions[stored.key]
        return True

    def fetch(
        self,
        stored: StoredVersion,
        target: Path,
        *,
        progress: Callable[[int], None] | None = None,
        expected: str | None = None,
    ) -> str:
        self._call("fetch")
        data = self.read(stored)
        target.write_bytes(data)
        if progress is not None:
            progress(len(data))
        return hashlib.sha256(data).hexdigest()

    def store(self, source: Path, key: str, *, sha256: str) -> StoredVersion:
        self._call("store")
        data = source.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ProcessingFailure("store", "the bytes changed on the way")
        for version_id, present in self.versions.get(key, []):
            if present == data:
                return StoredVersion(key, version_id, len(data))
        if self.versions.get(key):
            raise ProcessingFailure("stage", "integrity: other bytes stand under this key in S3")
        return self.write(key, data)

    def store_again(self, source: Path, key: str, *, sha256: str) -> StoredVersion:
        self._call("store_again")
        data = source.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ProcessingFailure("repair", "the bytes changed on the way")
        return self.write(key, data)

    def locked_until(self, stored: StoredVersion) -> float | None:
        self._call("locked_until")
        return self.locked.get((stored.key, stored.version_id))

    def lock(self, stored: StoredVersion, *, until: float) -> None:
        self._call("lock")
        self.locked[stored.key, stored.version_id] = until


@dataclass
class RecordingOrchestrator:
    """Writes deliveries down and starts nothing; `down` makes it unreachable."""

    deliveries: list[Delivery] = field(default_factory=list)
    states: dict[str, RunState] = field(default_factory=dict)
    down: bool = False

    def deliver(self, delivery: Delivery) -> str | None:
        if self.down:
            return None
        self.deliveries.append(delivery)
        run_id = f"run-{delivery.job_id}-{delivery.number}"
        self.states[run_id] = RunState.WAITING
        return run_id

    def waiting_among(self, run_ids: Sequence[str]) -> frozenset[str]:
        return frozenset()

    def state_of(self, run_id: str) -> RunState | None:
        return None if self.down else self.states.get(run_id, RunState.MISSING)
