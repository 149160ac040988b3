"""Download one pinned version: parallel ranges into one file, its SHA-256 on the way."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from readvault.adapters.s3_client import BROKEN_TRANSFER, code_of, failures_of, pinned
from readvault.adapters.s3_reading import GONE, Digests, may_be_md5, not_as_sealed, surely
from readvault.domain.errors import BytesLost, ProcessingFailure, ScratchFull, StoreUnavailable
from readvault.ports import StoredVersion

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

RANGE = 16 * 2**20
CHUNK = 2**20
THREADS = 4
ATTEMPTS = 5
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")

Progress = Callable[[int], None]


def download(
    s3: S3Client,
    bucket: str,
    stored: StoredVersion,
    target: Path,
    progress: Progress | None = None,
    *,
    expected: str | None = None,
) -> str:
    """Write the version's bytes to `target`; the SHA-256 (hexadecimal) of what stands there.

    It is sure: either `expected`, or the bytes have the MD5 that S3 took when they arrived, or a
    second reading gave the same. `progress` is told of each piece, in bytes, as it is hashed. Raises
    ProcessingFailure when the version is gone, has another size or changes while it is read, and when
    the disk is too small; no half-written file is left.
    """
    try:
        with failures_of("fetch"):
            _check_free_space(target.parent, stored.size)
            descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                _reserve(descriptor, stored.size)
                told = progress or _ignore
                return surely(lambda: _Download(s3, bucket, stored, descriptor).run(told, expected))
            finally:
                os.close(descriptor)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


class _Download:
    """One download: who asks, what for, and where the bytes go."""

    def __init__(self, s3: S3Client, bucket: str, stored: StoredVersion, descriptor: int) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._stored = stored
        self._descriptor = descriptor
        self._stop = threading.Event()
        self._etag: str | None = None
        self._etag_lock = threading.Lock()

    def run(self, progress: Progress, expected: str | None) -> tuple[str, bool]:
        """Fetch all; the SHA-256, and whether it is sure."""
        digests = Digests(expected)
        for start, length in self._written_ranges():
            if not may_be_md5(self._etag):
                digests.without_md5()
            for place in range(start, start + length, CHUNK):
                piece = os.pread(self._descriptor, min(CHUNK, start + length - place), place)
                digests.update(piece)
                progress(len(piece))
        return digests.sha256, digests.are_sure(self._etag)

    def _written_ranges(self) -> Iterator[tuple[int, int]]:
        """The ranges in order, each once it is on disk; a few are always on their way."""
        size = self._stored.size
        if size <= RANGE:
            self._copy(0, size)
            yield 0, size
            return
        ahead: deque[tuple[int, int, Future[None]]] = deque()
        with ThreadPoolExecutor(THREADS, thread_name_prefix="fetch") as pool:
            try:
                for start in range(0, size, RANGE):
                    length = min(RANGE, size - start)
                    ahead.append((start, length, pool.submit(self._copy, start, length)))
                    if len(ahead) > 2 * THREADS:
                        yield _finished(ahead)
                while ahead:
                    yield _finished(ahead)
            finally:
                self._stop.set()
                pool.shutdown(cancel_futures=True)

    def _copy(self, start: int, length: int) -> None:
        """Fetch one range; a broken connection resumes where it broke."""
        done = 0
        failed = 0
        while True:
            before = done
            try:
                for piece in self._body(start + done, length - done):
                    _write(self._descriptor, piece, start + done)
                    done += len(piece)
                    if self._stop.is_set():
                        return
            except BROKEN_TRANSFER:
                pass
            if done >= length:
                break
            failed = failed + 1 if done == before else 1
            if failed >= ATTEMPTS or self._stop.is_set():
                raise StoreUnavailable("fetch", f"S3 broke off the transfer {failed} times in a row")
            time.sleep(min(5.0, 0.2 * 2**failed) * random.uniform(0.5, 1.5))  # noqa: S311 - only spreads the load

    def _body(self, start: int, length: int) -> Iterator[bytes]:
        request: dict[str, Any] = {"Bucket": self._bucket, **pinned(self._stored.key, self._stored.version_id)}
        if self._stored.size:
            request["Range"] = f"bytes={start}-{start + length - 1}"
        try:
            answer = self._s3.get_object(**request)
        except ClientError as fault:
            if code_of(fault) in GONE:
                raise BytesLost("fetch", "S3 no longer has the sealed version") from None
            if code_of(fault) in ("InvalidRange", "416"):
                raise not_as_sealed(self._s3, self._bucket, self._stored, 0) from None
            raise
        with contextlib.closing(answer["Body"]) as body:
            self._check_identity(answer, start, length)
            left = length
            for piece in body.iter_chunks(CHUNK):
                left -= len(piece)
                if left < 0:
                    raise ProcessingFailure("fetch", "S3 sent more bytes than it was asked for")
                yield piece

    def _check_identity(self, answer: Any, start: int, length: int) -> None:
        """Refuse an object that is not the sealed one, as far as its headers tell."""
        size = self._stored.size
        match = _CONTENT_RANGE.fullmatch(answer.get("ContentRange") or "")
        if match is None:
            if start or answer["ContentLength"] != size:
                raise not_as_sealed(self._s3, self._bucket, self._stored, answer["ContentLength"])
        elif int(match[3]) != size:
            raise not_as_sealed(self._s3, self._bucket, self._stored, int(match[3]))
        elif (int(match[1]), int(match[2])) != (start, start + length - 1):
            raise ProcessingFailure("fetch", "S3 sent another range than it was asked for")
        with self._etag_lock:
            self._etag = self._etag or answer.get("ETag")
            if answer.get("ETag") != self._etag:
                raise ProcessingFailure("fetch", "the object changed while it was read")


def _finished(ahead: deque[tuple[int, int, Future[None]]]) -> tuple[int, int]:
    start, length, copied = ahead.popleft()
    copied.result()
    return start, length


def _write(descriptor: int, piece: bytes, place: int) -> None:
    view = memoryview(piece)
    while view:
        written = os.pwrite(descriptor, view, place)
        view, place = view[written:], place + written


def _check_free_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise ScratchFull("fetch", f"the scratch disk is full: it has {free} bytes free, but {size} are needed")


def _reserve(descriptor: int, size: int) -> None:
    """Take the space at once, so that a full disk shows before the transfer and not near its end."""
    if not size:
        return
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def _ignore(_count: int) -> None:
    return None
