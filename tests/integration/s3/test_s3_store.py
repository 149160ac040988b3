"""What S3 itself must refuse, keep and give back; on a real server, for fakes check no signature."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from readvault.adapters import s3_download
from readvault.adapters.embedded import SeaweedFS
from readvault.adapters.s3 import REFUSED_PARTS, S3Store
from readvault.adapters.s3_client import client
from readvault.adapters.s3_probe import refuse_anonymous
from readvault.config import S3Settings
from readvault.domain.errors import NotReady, ProcessingFailure, Unprocessable
from readvault.ports import SignedRequest, StoredVersion
from tests.faults.s3_proxy import breaking_connections

pytestmark = pytest.mark.slow

KEY = "incoming/batch/file"
BODY = b"@read\nACGT\n+\nFFFF\n" * 500
MB = 2**20
HTTP = httpx.Client(timeout=30, limits=httpx.Limits(max_keepalive_connections=32))
"""One for all tests: a new one would read all certificates each time."""


@pytest.fixture(scope="module", autouse=True)
def _hang_up() -> Iterator[None]:
    yield
    HTTP.close()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(request: SignedRequest, content: bytes, **changed: str | None) -> int:
    """Send a signed PUT; headers given as None are left out. The HTTP status."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        chosen = changed.get(name.replace("-", "_").lower(), value)
        if chosen is not None and name.lower() != "content-length":  # httpx sets the real one
            headers[name] = chosen
    return HTTP.put(request.url, content=content, headers=headers).status_code


def raw(settings: S3Settings, seaweed: SeaweedFS, identity: str) -> Any:
    """A plain client with the keys of one identity."""
    return client(seaweed.credentials(identity), identity=identity, endpoint=settings.endpoint, region=settings.region)


def upload(store: S3Store, key: str, content: bytes) -> StoredVersion:
    assert put(store.sign_put(key, size=len(content), sha256=sha256(content), expires=60), content) == 200
    return next(iter(store.list_versions(key)))


class TestSignedUpload:
    def test_takes_what_was_declared_and_nothing_a_second_time(self, store: S3Store) -> None:
        request = store.sign_put(KEY, size=len(BODY), sha256=sha256(BODY), expires=60)
        assert put(request, BODY) == 200
        assert put(request, BODY) == 412
        assert [stored.size for stored in store.list_versions(KEY)] == [len(BODY)]

    def test_without_a_declaration_takes_any_file_once(self, store: S3Store) -> None:
        request = store.sign_put(KEY, size=None, sha256=None, expires=60)
        assert request.headers == {"If-None-Match": "*"}
        assert put(request, BODY) == 200
        assert put(request, b"something else") == 412

    def test_refuses_another_body_of_the_same_length(self, store: S3Store) -> None:
        request = store.sign_put(KEY, size=len(BODY), sha256=sha256(BODY), expires=60)
        assert put(request, BODY.replace(b"A", b"T")) == 400
        assert list(store.list_versions(KEY)) == []

    @pytest.mark.parametrize("content", [BODY[:-1], BODY + b"\n", b""])
    def test_refuses_another_length(self, store: S3Store, content: bytes) -> None:
        assert put(store.sign_put(KEY, size=len(BODY), sha256=None, expires=60), content) == 403
        assert list(store.list_versions(KEY)) == []

    @pytest.mark.parametrize("header", ["if_none_match", "x_amz_checksum_sha256"])
    def test_refuses_a_request_without_a_signed_header(self, store: S3Store, header: str) -> None:
        request = store.sign_put(KEY, size=len(BODY), sha256=sha256(BODY), expires=60)
        assert put(request, BODY, **{header: None}) == 403

    def test_refuses_a_recomputed_checksum(self, store: S3Store) -> None:
        request = store.sign_put(KEY, size=len(BODY), sha256=sha256(BODY), expires=60)
        other = store.sign_put(KEY, size=len(BODY), sha256=sha256(BODY[::-1]), expires=60)
        assert put(request, BODY[::-1], x_amz_checksum_sha256=other.headers["x-amz-checksum-sha256"]) == 403

    def test_refuses_another_key_and_another_method(self, store: S3Store) -> None:
        request = store.sign_put(KEY, size=len(BODY), sha256=None, expires=60)
        elsewhere = SignedRequest(request.url.replace("/batch/file", "/batch/other"), request.headers)
        assert put(elsewhere, BODY) == 403
        assert HTTP.get(request.url).status_code == 403
        assert HTTP.delete(request.url).status_code == 403

    def test_refuses_an_expired_url(self, store: S3Store) -> None:
        request = store.sign_put(KEY, size=len(BODY), sha256=None, expires=1)
        time.sleep(2.1)
        assert put(request, BODY) == 403

    def test_one_of_sixteen_racers_wins(self, store: S3Store) -> None:
        request = store.sign_put(KEY, size=None, sha256=None, expires=60)
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda number: put(request, b"racer %d" % number), range(16)))
        assert sorted(answers) == [200] + [412] * 15


class TestSignedDownload:
    def test_gives_the_pinned_version_whatever_came_later(
        self, store: S3Store, s3_settings: S3Settings, seaweed: SeaweedFS
    ) -> None:
        first = upload(store, KEY, BODY)
        maintainer = raw(s3_settings, seaweed, "maintainer")
        maintainer.put_object(Bucket=s3_settings.bucket, Key=KEY, Body=b"later")
        maintainer.delete_object(Bucket=s3_settings.bucket, Key=KEY)
        answer = HTTP.get(store.sign_get(KEY, first.version_id, name="reads 1.fq", expires=60))
        assert answer.content == BODY
        assert answer.headers["content-disposition"] == 'attachment; filename="reads 1.fq"'
        assert answer.headers["content-type"] == "application/octet-stream"

    def test_a_name_can_add_no_header(self, store: S3Store) -> None:
        stored = upload(store, KEY, BODY)
        url = store.sign_get(KEY, stored.version_id, name='a"\r\nSet-Cookie: x=1\r\n\u202eß.fq', expires=60)
        answer = HTTP.get(url)
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
        assert answer.headers["content-disposition"].startswith("attachment; filename=")

    def test_head_and_ranges_work_and_expiry_too(self, store: S3Store) -> None:
        stored = upload(store, KEY, BODY)
        head = HTTP.head(store.sign_get(KEY, stored.version_id, name="x", expires=60, head=True))
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(BODY)))
        url, brief = (store.sign_get(KEY, stored.version_id, name="x", expires=seconds) for seconds in (60, 1))
        assert HTTP.get(url, headers={"Range": "bytes=0-4"}).content == BODY[:5]
        time.sleep(2.1)
        assert HTTP.get(brief).status_code == 403
        assert HTTP.get(url).status_code == 200

    def test_can_not_be_turned_into_another_request(self, store: S3Store) -> None:
        stored = upload(store, KEY, BODY)
        url = store.sign_get(KEY, stored.version_id, name="x", expires=60)
        assert HTTP.delete(url).status_code == 403
        assert HTTP.put(url, content=b"other").status_code == 403
        assert HTTP.get(url.replace("/batch/file", "/batch/other")).status_code == 403
        assert HTTP.get(url.replace(str(stored.version_id), "0" * 32)).status_code == 403


class TestFetch:
    @pytest.mark.parametrize("size", [0, 1, 40 * MB + 17])
    def test_writes_every_byte_and_hashes_what_it_wrote(self, store: S3Store, tmp_path: Path, size: int) -> None:
        source = tmp_path / "source"
        source.write_bytes((bytes(range(256)) * (size // 256 + 1))[:size])
        digest = sha256(source.read_bytes())
        stored = store.store(source, f"vault/1/{digest}", sha256=digest)
        counted: list[int] = []
        assert store.fetch(stored, tmp_path / "target", progress=counted.append) == digest
        assert (tmp_path / "target").read_bytes() == source.read_bytes()
        assert sum(counted) == size

    @pytest.mark.parametrize("wrong", [-1, +1, +40 * MB])
    def test_refuses_an_object_of_another_size(self, store: S3Store, tmp_path: Path, wrong: int) -> None:
        stored = upload(store, KEY, BODY)
        sealed = StoredVersion(KEY, stored.version_id, stored.size + wrong)
        with pytest.raises(ProcessingFailure, match="were sealed"):
            store.fetch(sealed, tmp_path / "target")
        assert not (tmp_path / "target").exists()

    def test_a_version_that_is_gone_is_our_failure_and_gives_nothing_away(
        self, store: S3Store, s3_settings: S3Settings, tmp_path: Path
    ) -> None:
        upload(store, KEY, BODY)
        with pytest.raises(ProcessingFailure) as caught:
            store.fetch(StoredVersion(KEY, "0" * 32, len(BODY)), tmp_path / "target")
        assert str(caught.value) == "fetch: S3 no longer has the sealed version"
        assert caught.value.__cause__ is None

    def test_gets_the_sealed_version_though_the_object_was_replaced(
        self, store: S3Store, s3_settings: S3Settings, seaweed: SeaweedFS, tmp_path: Path
    ) -> None:
        stored = upload(store, KEY, BODY)
        replacement = BODY.replace(b"A", b"T")
        raw(s3_settings, seaweed, "maintainer").put_object(Bucket=s3_settings.bucket, Key=KEY, Body=replacement)
        assert store.fetch(stored, tmp_path / "target") == sha256(BODY)

    def test_goes_on_where_a_broken_connection_stopped(
        self, s3_settings: S3Settings, store: S3Store, tmp_path: Path
    ) -> None:
        source = tmp_path / "source"
        source.write_bytes(bytes(range(256)) * (35 * MB // 256))
        digest = sha256(source.read_bytes())
        stored = store.store(source, f"vault/1/{digest}", sha256=digest)
        with breaking_connections(s3_settings.endpoint, after=5 * MB, times=6) as (endpoint, broken):
            through = S3Store(s3_settings.model_copy(update={"endpoint": endpoint}))
            assert through.fetch(stored, tmp_path / "target") == digest
            assert len(broken) == 6

    def test_gives_up_when_nothing_comes_any_more(
        self, s3_settings: S3Settings, store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stored = upload(store, KEY, BODY)
        monkeypatch.setattr(s3_download.time, "sleep", lambda _seconds: None)
        with breaking_connections(s3_settings.endpoint, after=0, times=1000) as (endpoint, _):
            through = S3Store(s3_settings.model_copy(update={"endpoint": endpoint}))
            with pytest.raises(ProcessingFailure) as caught:
                through.fetch(stored, tmp_path / "target")
        assert "127.0.0.1" not in str(caught.value)
        assert KEY not in str(caught.value)

    def test_says_that_the_disk_is_too_small_before_it_starts(
        self, store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stored = upload(store, KEY, BODY)
        usage = s3_download.shutil.disk_usage(tmp_path)._replace(free=len(BODY) - 1)
        monkeypatch.setattr(s3_download.shutil, "disk_usage", lambda _path: usage)
        with pytest.raises(ProcessingFailure, match=f"{len(BODY) - 1} bytes free, but {len(BODY)} are needed"):
            store.fetch(stored, tmp_path / "target")


class TestStore:
    @pytest.mark.parametrize("size", [1000, 70 * MB])
    def test_twice_is_once(self, store: S3Store, tmp_path: Path, size: int) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"x" * size)
        digest = sha256(source.read_bytes())
        first = store.store(source, f"vault/1/{digest}", sha256=digest)
        assert store.store(source, f"vault/1/{digest}", sha256=digest) == first
        assert list(store.list_versions("vault/")) == [first]
        assert store.fetch(first, tmp_path / "target") == digest

    @pytest.mark.parametrize("size", [1000, 70 * MB])
    def test_other_bytes_under_the_key_are_a_failure(self, store: S3Store, tmp_path: Path, size: int) -> None:
        key = "vault/1/" + "0" * 64
        for content in (b"x", b"y"):
            (tmp_path / content.decode()).write_bytes(content * size)
        store.store(tmp_path / "x", key, sha256=sha256(b"x" * size))
        with pytest.raises(ProcessingFailure, match="integrity"):
            store.store(tmp_path / "y", key, sha256=sha256(b"y" * size))
        assert len(list(store.list_versions(key))) == 1

    @pytest.mark.parametrize("size", [1000, 70 * MB])
    def test_a_file_that_is_not_what_it_was_hashed_as_is_never_stored(
        self, store: S3Store, s3_settings: S3Settings, seaweed: SeaweedFS, tmp_path: Path, size: int
    ) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"x" * size)
        with pytest.raises(ProcessingFailure):
            store.store(source, "vault/1/" + "0" * 64, sha256="0" * 64)
        assert list(store.list_versions("vault/")) == []
        unfinished = raw(s3_settings, seaweed, "worker").list_multipart_uploads(Bucket=s3_settings.bucket)
        assert unfinished.get("Uploads", []) == []

    def test_many_at_once_keep_one_version(self, store: S3Store, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(BODY)
        with ThreadPoolExecutor(8) as pool:
            stored = set(pool.map(lambda _: store.store(source, "vault/1/x", sha256=sha256(BODY)), range(24)))
        assert stored == set(store.list_versions("vault/1/x"))
        assert len(stored) == 1


class TestList:
    def test_oldest_version_first_and_no_delete_markers(
        self, store: S3Store, s3_settings: S3Settings, seaweed: SeaweedFS
    ) -> None:
        s3 = raw(s3_settings, seaweed, "maintainer")
        for number in range(3):
            s3.put_object(Bucket=s3_settings.bucket, Key="incoming/b/a", Body=b"x" * number)
        s3.delete_object(Bucket=s3_settings.bucket, Key="incoming/b/a")
        upload(store, "incoming/b/b", BODY)
        upload(store, "incoming/c/a", BODY)
        found = [(stored.key, stored.size) for stored in store.list_versions("incoming/b/")]
        assert found == [("incoming/b/a", 0), ("incoming/b/a", 1), ("incoming/b/a", 2), ("incoming/b/b", len(BODY))]

    def test_a_batch_of_more_than_a_page(self, store: S3Store) -> None:
        keys = [f"incoming/many/{number:05}" for number in range(1100)]
        with ThreadPoolExecutor(8) as pool:

            def send(key: str) -> int:
                request = store.sign_put(key, size=None, sha256=None, expires=300)
                return HTTP.put(request.url, content=key.encode(), headers=request.headers).status_code

            assert set(pool.map(send, keys)) == {200}
        assert [stored.key for stored in store.list_versions("incoming/many/")] == keys


class TestMultipart:
    def send_parts(self, store: S3Store, upload_id: str, *parts: bytes) -> list[tuple[int, str]]:
        etags = []
        for number, part in enumerate(parts, 1):
            request = store.sign_part(KEY, upload_id, number, size=len(part), expires=60)
            answer = HTTP.put(request.url, content=part)
            assert answer.status_code == 200
            etags.append((number, answer.headers["etag"]))
        return etags

    def test_the_whole_way(self, store: S3Store, tmp_path: Path) -> None:
        first, last = b"a" * 5 * MB, b"z" * 10
        upload_id = store.start_multipart(KEY)
        etags = self.send_parts(store, upload_id, first, last)
        listed = store.list_parts(KEY, upload_id)
        assert [(part.number, part.size) for part in listed] == [(1, len(first)), (2, 10)]
        assert [part.etag for part in listed] == [etag.strip('"') for _, etag in etags]
        store.complete_multipart(KEY, upload_id, [(part.number, part.etag) for part in listed])
        stored = list(store.list_versions(KEY))
        assert [version.size for version in stored] == [len(first) + 10]
        assert store.fetch(stored[0], tmp_path / "target") == sha256(first + last)

    def test_a_part_can_be_sent_again_and_no_other_size(self, store: S3Store) -> None:
        upload_id = store.start_multipart(KEY)
        self.send_parts(store, upload_id, b"first try")
        time.sleep(1.1)
        again = self.send_parts(store, upload_id, b"other try")
        request = store.sign_part(KEY, upload_id, 1, size=9, expires=60)
        assert HTTP.put(request.url, content=b"too long a part").status_code == 403
        listed = [(part.number, part.etag) for part in store.list_parts(KEY, upload_id)]
        assert listed == [(1, again[0][1].strip('"'))]
        store.complete_multipart(KEY, upload_id, listed)
        stored = next(store.list_versions(KEY))
        assert HTTP.get(store.sign_get(KEY, stored.version_id, name="x", expires=60)).content == b"other try"

    def test_completed_twice_is_completed_once(self, store: S3Store) -> None:
        upload_id = store.start_multipart(KEY)
        etags = self.send_parts(store, upload_id, b"all")
        store.complete_multipart(KEY, upload_id, etags)
        store.complete_multipart(KEY, upload_id, etags)
        assert len(list(store.list_versions(KEY))) == 1

    def test_never_replaces_what_is_there(self, store: S3Store, tmp_path: Path) -> None:
        stored = upload(store, KEY, BODY)
        upload_id = store.start_multipart(KEY)
        store.complete_multipart(KEY, upload_id, self.send_parts(store, upload_id, b"later"))
        assert list(store.list_versions(KEY)) == [stored]

    @pytest.mark.parametrize(
        ("parts", "chosen", "code"),
        [
            ([b"small", b"small too"], [0, 1], "EntityTooSmall"),
            ([b"a" * 5 * MB, b"b"], [1, 0], "InvalidPartOrder"),
            ([b"a" * 5 * MB], [0, 1], "InvalidPart"),
        ],
    )
    def test_bad_parts_are_the_callers_fault_in_loculus_words(
        self, store: S3Store, parts: list[bytes], chosen: list[int], code: str
    ) -> None:
        upload_id = store.start_multipart(KEY)
        etags = [*self.send_parts(store, upload_id, *parts), *[(number, "0" * 32) for number in (2, 3)]]
        with pytest.raises(Unprocessable) as caught:
            store.complete_multipart(KEY, upload_id, [etags[place] for place in chosen])
        assert str(caught.value) == REFUSED_PARTS[code]
        assert list(store.list_versions(KEY)) == []

    def test_a_wrong_etag_and_no_parts_at_all(self, store: S3Store) -> None:
        upload_id = store.start_multipart(KEY)
        self.send_parts(store, upload_id, b"part")
        for parts in ([(1, '"' + "0" * 32 + '"')], []):
            with pytest.raises(Unprocessable):
                store.complete_multipart(KEY, upload_id, parts)

    def test_aborted_it_is_gone_and_aborting_again_is_no_error(self, store: S3Store) -> None:
        upload_id = store.start_multipart(KEY)
        etags = self.send_parts(store, upload_id, b"part")
        store.abort_multipart(KEY, upload_id)
        store.abort_multipart(KEY, upload_id)
        request = store.sign_part(KEY, upload_id, 2, size=4, expires=60)
        assert HTTP.put(request.url, content=b"more").status_code == 404
        with pytest.raises(Unprocessable, match="does not exist any more"):
            store.complete_multipart(KEY, upload_id, etags)


class TestRights:
    def test_the_upload_signer_can_write_to_incoming_and_nothing_else(
        self, store: S3Store, s3_settings: S3Settings, seaweed: SeaweedFS
    ) -> None:
        stored = upload(store, KEY, BODY)
        s3 = raw(s3_settings, seaweed, "upload_signer")
        at = {"Bucket": s3_settings.bucket}
        s3.put_object(Key="incoming/x", Body=b"x", **at)
        for call, arguments in (
            (s3.put_object, {"Key": "vault/1/x", "Body": b"x"}),
            (s3.get_object, {"Key": KEY}),
            (s3.get_object, {"Key": KEY, "VersionId": stored.version_id}),
            (s3.head_object, {"Key": KEY}),
            (s3.list_objects_v2, {}),
            (s3.list_object_versions, {}),
            (s3.delete_object, {"Key": KEY}),
            (s3.delete_object, {"Key": KEY, "VersionId": stored.version_id}),
            (s3.put_bucket_policy, {"Policy": "{}"}),
        ):
            assert_denied(call, {**at, **arguments})

    def test_the_read_signer_can_only_read(self, store: S3Store, s3_settings: S3Settings, seaweed: SeaweedFS) -> None:
        stored = upload(store, KEY, BODY)
        s3 = raw(s3_settings, seaweed, "read_signer")
        at = {"Bucket": s3_settings.bucket}
        assert s3.get_object(Key=KEY, VersionId=stored.version_id, **at)["Body"].read() == BODY
        for call, arguments in (
            (s3.put_object, {"Key": "incoming/y", "Body": b"x"}),
            (s3.create_multipart_upload, {"Key": "incoming/y"}),
            (s3.list_objects_v2, {}),
            (s3.delete_object, {"Key": KEY, "VersionId": stored.version_id}),
        ):
            assert_denied(call, {**at, **arguments})

    def test_no_identity_of_a_service_can_lift_a_lock_or_open_the_bucket(
        self, store: S3Store, s3_settings: S3Settings, seaweed: SeaweedFS
    ) -> None:
        stored = upload(store, KEY, BODY)
        store.lock(stored, until=time.time() + 3600)
        version = {"Bucket": s3_settings.bucket, "Key": KEY, "VersionId": stored.version_id}
        for identity in ("upload_signer", "read_signer", "worker"):
            s3 = raw(s3_settings, seaweed, identity)
            assert_denied(s3.delete_object, version)
            assert_denied(s3.delete_object, {**version, "BypassGovernanceRetention": True})
            assert_denied(s3.put_bucket_policy, {"Bucket": s3_settings.bucket, "Policy": "{}"})
            assert_denied(s3.put_bucket_acl, {"Bucket": s3_settings.bucket, "ACL": "public-read"})
        maintainer = raw(s3_settings, seaweed, "maintainer")
        maintainer.delete_object(**version, BypassGovernanceRetention=True)
        assert list(store.list_versions(KEY)) == []

    def test_the_worker_deletes_versions_that_are_not_locked(
        self, store: S3Store, s3_settings: S3Settings, seaweed: SeaweedFS
    ) -> None:
        stored = upload(store, KEY, BODY)
        worker = raw(s3_settings, seaweed, "worker")
        worker.delete_object(Bucket=s3_settings.bucket, Key=KEY, VersionId=stored.version_id)
        assert list(store.list_versions(KEY)) == []

    def test_anonymous_gets_nothing(self, store: S3Store, s3_settings: S3Settings) -> None:
        stored = upload(store, KEY, BODY)
        bucket = f"{s3_settings.endpoint}/{s3_settings.bucket}"
        for method, url in (
            ("GET", s3_settings.endpoint + "/"),
            ("GET", bucket),
            ("GET", f"{bucket}/{KEY}"),
            ("GET", f"{bucket}/{KEY}?versionId={stored.version_id}"),
            ("PUT", f"{bucket}/incoming/mine"),
            ("DELETE", f"{bucket}/{KEY}"),
        ):
            assert HTTP.request(method, url).status_code == 403, (method, url)
        refuse_anonymous(s3_settings.endpoint, s3_settings.bucket)

    def test_a_bucket_that_anybody_may_list_is_refused(
        self, store: S3Store, s3_settings: S3Settings, seaweed: SeaweedFS
    ) -> None:
        bucket = s3_settings.bucket
        opened = (
            '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:ListBucket",'
            f'"Resource":"arn:aws:s3:::{bucket}"}}]}}'
        )
        raw(s3_settings, seaweed, "maintainer").put_bucket_policy(Bucket=bucket, Policy=opened)
        with pytest.raises(NotReady, match="lists the bucket"):
            refuse_anonymous(s3_settings.endpoint, bucket)


class TestLock:
    def test_reaches_further_only(self, store: S3Store, s3_settings: S3Settings, seaweed: SeaweedFS) -> None:
        stored = upload(store, KEY, BODY)
        now = time.time()
        for until in (now + 3600, now + 60, now + 7200):
            store.lock(stored, until=until)
        kept = raw(s3_settings, seaweed, "worker").get_object_retention(
            Bucket=s3_settings.bucket, Key=KEY, VersionId=stored.version_id
        )["Retention"]
        assert kept["Mode"] == "GOVERNANCE"
        assert kept["RetainUntilDate"].timestamp() == pytest.approx(now + 7200, abs=1.5)

    def test_a_bucket_without_locks_goes_without(self, s3_settings: S3Settings, seaweed: SeaweedFS) -> None:
        bucket = s3_settings.bucket + "-plain"
        raw(s3_settings, seaweed, "maintainer").create_bucket(Bucket=bucket)
        store = S3Store(s3_settings.model_copy(update={"bucket": bucket}))
        stored = upload(store, KEY, BODY)
        assert stored.version_id is None
        store.lock(stored, until=time.time() + 3600)


def test_a_server_that_does_not_answer_is_our_failure_and_its_address_stays_secret(
    s3_settings: S3Settings, tmp_path: Path
) -> None:
    from readvault.adapters.ports import reserve_port

    nowhere = S3Store(s3_settings.model_copy(update={"endpoint": f"http://127.0.0.1:{reserve_port()}"}))
    with pytest.raises(ProcessingFailure) as caught:
        nowhere.fetch(StoredVersion(KEY, None, 1), tmp_path / "target")
    assert "127.0.0.1" not in str(caught.value)
    assert not (tmp_path / "target").exists()


def assert_denied(call: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
