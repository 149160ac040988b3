"""What we ask of S3, one thing at a time, over a way on which something goes wrong.

Each scene may be refused while the fault lasts, but what it believes must be true; after the fault it
succeeds, and S3 holds one version with the right bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from unittest import mock

import botocore.endpoint
from botocore.retries import adaptive

from readvault.adapters import s3_download, s3_inventory, s3_upload
from readvault.adapters.s3 import S3Store
from readvault.client.transfer import ClientError, Ticket, Transfer
from readvault.config import S3Settings
from readvault.domain.errors import BytesLost, ProcessingFailure, Unprocessable
from readvault.ports import StoredVersion
from readvault.services.uploads import sealing
from tests.faults.s3_proxy import FaultProxy, Rule

REFUSALS = (ProcessingFailure, ClientError, Unprocessable)
"""How our own code says that it can't now."""
PART = 5 * 2**20
GET, LIST = ("GetObject", "HeadObject"), ("ListObjectVersions",)
MAKE = Callable[..., Rule]
"""Makes the rule of a trial for these operations."""


@contextlib.contextmanager
def no_pauses() -> Iterator[None]:
    """Retries follow at once, and a busy S3 slows nobody down."""
    hurried = types.SimpleNamespace(sleep=lambda seconds: None, monotonic=time.monotonic)
    with (
        mock.patch.object(botocore.endpoint, "time", hurried),
        mock.patch.object(s3_download, "time", hurried),
        mock.patch.object(s3_inventory, "time", hurried),
        mock.patch.object(adaptive.ClientRateLimiter, "on_sending_request", return_value=None),
    ):
        yield


@dataclass
class Scenes:
    """One bucket, a way to it that can be trusted and one that can't."""

    settings: S3Settings
    proxy: FaultProxy
    folder: Path
    dice: random.Random

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.plain = S3Store(self.settings)
        self.fresh()

    def fresh(self) -> None:
        """Forget what earlier trials did to the connection."""
        self.through = S3Store(self.settings.model_copy(update={"endpoint": self.proxy.endpoint}))
        self.transfer = Transfer(pause=lambda seconds: None)

    def all(self) -> list[Callable[[MAKE], None]]:
        """The scenes, in turn."""
        return [
            self.fetch,
            self.store,
            self.seal,
            self.hash,
            self.upload,
            self.download,
            self.store_in_parts,
            self.fetch_undeclared,
            self.lock,
            self.upload_in_parts,
            self.delete,
        ]

    # --- reading ----------------------------------------------------------------------------------

    def fetch(self, rule: MAKE) -> None:
        """A sealed original whose SHA-256 is known."""
        self._fetch(rule, self._stored(), known=True)

    def fetch_undeclared(self, rule: MAKE) -> None:
        """A sealed original of which nobody said the SHA-256, in one piece or in parts."""
        stored = self._in_parts() if self.dice.random() < 0.2 else self._stored()
        self._fetch(rule, stored, known=False)

    def hash(self, rule: MAKE) -> None:
        """The bytes of a version are looked at, for the sake of their integrity."""
        stored, body = self._stored()
        for faulty in (True, False):
            self._set(rule(*GET) if faulty else None)
            with self._may_refuse(faulty):
                expected = _sha256(body) if self.dice.random() < 0.5 else None
                assert self.through.sha256_of(stored, expected=expected) == _sha256(body), "other bytes were believed"

    def download(self, rule: MAKE) -> None:
        """A reader downloads a file of a manifest."""
        stored, body = self._stored()
        target = self.folder / "download"
        for faulty in (True, False):
            self._set(rule("GetObject") if faulty else None)
            with self._may_refuse(faulty):
                url = self._signing.sign_get(stored.key, stored.version_id, name="x", expires=300)
                got = self.transfer.get(lambda url=url: url, target, lambda _: None, sha256=_sha256(body))  # type: ignore[misc]
                assert got == _sha256(body) == _sha256(target.read_bytes()), "a reader got other bytes"

    def seal(self, rule: MAKE) -> None:
        """What a submission names is looked up."""
        for faulty in (True, False):
            self._set(rule(*LIST) if faulty else None)
            with self._may_refuse(faulty):
                found = sealing._listed_alike(self.through, "incoming/batch/", set(self._batch))
                assert found == self._batch, "something else would be sealed than was uploaded"

    # --- writing ----------------------------------------------------------------------------------

    def store(self, rule: MAKE) -> None:
        """An output of a job is staged."""
        body = self._body()
        self._store(rule("PutObject", *GET, *LIST), body, s3_upload.SINGLE)

    def store_in_parts(self, rule: MAKE) -> None:
        """A large output of a job is staged."""
        body = self._body(PART + 1000)
        writes = ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
        self._store(rule(*writes, *LIST), body, 0)

    def upload(self, rule: MAKE) -> None:
        """A submitter uploads a file and had said what it is."""
        body, source = self._body(), self.folder / "upload"
        source.write_bytes(body)
        key = self._key("incoming/lone")
        for faulty in (True, False):
            self._set(rule("PutObject") if faulty else None)
            signed = self._signing.sign_put(key, size=len(body), sha256=_sha256(body), expires=300)
            with self._may_refuse(faulty or bool(list(self.plain.list_versions(key)))):
                self.transfer.put(_as_answer(signed), source, 0, len(body), lambda _: None)
        self._is_there_once(key, body)

    def upload_in_parts(self, rule: MAKE) -> None:
        """A submitter uploads a large file, and we put it together."""
        body, source = self._body(PART + 1000), self.folder / "upload"
        source.write_bytes(body)
        key = self._key("incoming/parts")
        upload_id = self.plain.start_multipart(key)
        ticket = Ticket(source, "file", "upload", len(body), part_size=PART, part_count=2)

        def sign(numbers: list[int]) -> list[dict[str, object]]:
            lengths = {1: PART, 2: 1000}
            signed = (self._signing.sign_part(key, upload_id, n, size=lengths[n], expires=300) for n in numbers)
            return [{"number": n, **_as_answer(each)} for n, each in zip(numbers, signed, strict=True)]

        for faulty in (True, False):
            self._set(rule("UploadPart", "CompleteMultipartUpload") if faulty else None)
            with self._may_refuse(faulty or bool(list(self.plain.list_versions(key)))):
                etags = self.transfer.put_parts(ticket, [], sign, lambda _: None)
                self.through.complete_multipart(key, upload_id, list(enumerate(etags, start=1)))
        self._is_there_once(key, body)

    def lock(self, rule: MAKE) -> None:
        """A released file is locked."""
        stored, _ = self._stored()
        until = time.time() + 86400
        for faulty in (True, False):
            self._set(rule("PutObjectRetention") if faulty else None)
            with self._may_refuse(faulty):
                self.through.lock(stored, until=until)
        self._set(None)
        assert not self.plain.delete(stored), "a lock that was said to be there is not"

    def delete(self, rule: MAKE) -> None:
        """Garbage goes, and nothing else."""
        stored, body = self._stored()
        kept, _ = self._stored()
        for faulty in (True, False):
            self._set(rule("DeleteObject") if faulty else None)
            with self._may_refuse(faulty):
                assert self.through.delete(stored), "nothing holds it"
        left = [each for key in (stored.key, kept.key) for each in self.plain.list_versions(key)]
        assert left == [kept], f"of {len(body)} bytes that were to go something else is left: {left}"

    # --- what the scenes share --------------------------------------------------------------------

    def _fetch(self, rule: MAKE, stored_body: tuple[StoredVersion, bytes], *, known: bool) -> None:
        stored, body = stored_body
        target = self.folder / "fetched"
        for faulty in (True, False):
            self._set(rule(*GET) if faulty else None)
            with self._may_refuse(faulty):
                got = self.through.fetch(stored, target, expected=_sha256(body) if known else None)
                assert got == _sha256(body) == _sha256(target.read_bytes()), "other bytes than S3 holds were believed"

    def _store(self, rule: Rule, body: bytes, single: int) -> None:
        source = self.folder / "output"
        source.write_bytes(body)
        key = f"vault/1/{_sha256(body)}"
        for faulty in (True, False):
            self._set(rule if faulty else None)
            with self._may_refuse(faulty):
                stored = s3_upload.store(
                    self.through._worker,
                    self.settings.bucket,
                    source,
                    key,
                    sha256=_sha256(body),
                    versions=self.through.list_versions,
                    single=single,
                    part=PART,
                )
                assert [stored] == list(self.plain.list_versions(key)), "it is not where it is said to be"
        self._is_there_once(key, body)

    def _is_there_once(self, key: str, body: bytes) -> None:
        self._set(None)
        versions = list(self.plain.list_versions(key))
        assert len(versions) == 1, f"{len(versions)} versions instead of one"
        assert self.plain.sha256_of(versions[0]) == _sha256(body), "S3 holds other bytes than were sent"

    @contextlib.contextmanager
    def _may_refuse(self, allowed: bool) -> Iterator[None]:
        try:
            yield
        except BytesLost as fault:
            raise AssertionError(f"bytes that are there are said to be lost: {fault}") from None
        except REFUSALS as fault:
            if not allowed:
                raise AssertionError(f"it still fails after the fault: {fault}") from None

    def _set(self, rule: Rule | None) -> None:
        self.proxy.rules = [] if rule is None else [rule]

    @cached_property
    def _signing(self) -> S3Store:
        return S3Store(self.settings.model_copy(update={"public_endpoint": self.proxy.endpoint}))

    @cached_property
    def _batch(self) -> dict[str, StoredVersion]:
        found = {}
        for number in range(12):
            body = self._body(100)
            source = self.folder / "batch"
            source.write_bytes(body)
            key = f"incoming/batch/{number:03}"
            found[key] = self.plain.store(source, key, sha256=_sha256(body))
        return found

    def _body(self, size: int | None = None) -> bytes:
        return self.dice.randbytes(self.dice.choice((1, 300, 5000, 300_000)) if size is None else size)

    def _key(self, prefix: str) -> str:
        return f"{prefix}/{self.dice.randbytes(12).hex()}"

    def _stored(self) -> tuple[StoredVersion, bytes]:
        body, source = self._body(), self.folder / "source"
        source.write_bytes(body)
        return self.plain.store(source, self._key("incoming/b"), sha256=_sha256(body)), body

    def _in_parts(self) -> tuple[StoredVersion, bytes]:
        body, source = self._body(PART + 1000), self.folder / "source"
        source.write_bytes(body)
        worker, bucket = self.plain._worker, self.settings.bucket
        stored = s3_upload.store(
            worker, bucket, source, self._key("incoming/b"), sha256=_sha256(body),
            versions=self.plain.list_versions, single=0, part=PART,
        )  # fmt: skip
        return stored, body


def _as_answer(signed: object) -> dict[str, object]:
    return {"url": signed.url, "headers": signed.headers}  # type: ignore[attr-defined]


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
