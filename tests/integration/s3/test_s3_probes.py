"""The doctor's probes of the bucket: a good provider passes, one that lets everything through passes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from readvault.adapters.embedded import SeaweedFS
from readvault.adapters.s3 import S3Store
from readvault.adapters.s3_client import ATTEMPTS, client
from readvault.adapters.s3_probes import PROBES, Seen, examine
from readvault.config import S3Credentials, S3Settings, Settings
from readvault.doctor.examination import examine as examine_all
from readvault.doctor.findings import Level

pytestmark = pytest.mark.slow

ORIGIN = "https://reads.example.org"
NO_ENCRYPTION = {"encryption"}
"""What the embedded server can't do."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with SeaweedFS(
        tmp_path_factory.mktemp("s3"), buckets="test-*", bucket="test-good", allowed_origins=[ORIGIN]
    ) as started:
        yield started


@pytest.fixture(scope="module")
def good(server: SeaweedFS) -> S3Settings:
    return server.settings


@pytest.fixture(scope="module")
def seen(good: S3Settings) -> dict[str, Seen]:
    return {each.name: each for each in examine(good, origin=ORIGIN)}


def test_the_embedded_server_keeps_every_promise(seen: dict[str, Seen]) -> None:
    assert set(seen) == set(PROBES)
    assert {name for name, each in seen.items() if not each.passed} == NO_ENCRYPTION
    assert all(each.message for each in seen.values())


@pytest.mark.parametrize(
    ("identity", "given", "probe"),
    [
        ("worker", "maintainer", "worker"),
        ("read_signer", "maintainer", "read signer"),
        ("upload_signer", "worker", "upload signer"),
    ],
)
def test_an_identity_that_may_more_than_its_work_needs_is_told(
    server: SeaweedFS, good: S3Settings, identity: str, given: str, probe: str
) -> None:
    too_strong = good.model_copy(update={identity: server.credentials(given)})
    [found] = examine(too_strong, origin=ORIGIN, only={probe})
    assert not found.passed, found.message


def test_no_signed_url_reaches_private_documents(server: SeaweedFS, good: S3Settings) -> None:
    writer = client(server.credentials("worker"), identity="worker", endpoint=server.endpoint, region=good.region)
    status = {}
    for key in (
        "vault/1/x",
        "incoming/x/y",
        "exports/o/x/y",
        "manifests/LOC_1/1/x.private.json",
        "records/LOC_1/1/x.json",
    ):
        version_id = writer.put_object(Bucket=good.bucket, Key=key, Body=b"private")["VersionId"]
        url = S3Store(good).sign_get(key, version_id, name="x", expires=60)
        status[key.partition("/")[0]] = httpx.get(url).status_code
        writer.delete_object(Bucket=good.bucket, Key=key, VersionId=version_id)
    assert status == {"vault": 200, "incoming": 200, "exports": 200, "manifests": 403, "records": 403}


def test_the_probes_leave_nothing_but_what_is_locked(good: S3Settings, seen: dict[str, Seen]) -> None:
    store = S3Store(good)
    left = [each for each in store.walk("incoming/doctor-") if not store.delete(each.stored)]
    assert len(left) <= 2  # the locked ones; their locks end after seconds
    assert not list(store.unfinished_uploads("incoming/doctor-"))


def test_the_doctor_says_what_to_do(good: S3Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: PROBES[name] for name in ("second write", "browsers")}
    monkeypatch.setattr("readvault.adapters.s3_probes.PROBES", few)
    settings = Settings(data_dir=tmp_path, s3=good, public_url="https://elsewhere.example.org")
    told = {each.message.partition(":")[0]: each for each in examine_all(settings) if each.probe == "bucket"}
    assert told["second write"].level is Level.OK
    assert told["browsers"].level is Level.WARN
    assert told["browsers"].advice is not None
    assert "CORS" in told["browsers"].advice


class _LetsEverythingThrough(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = do_OPTIONS = _answer  # noqa: N815 - as http.server has it

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def open_house() -> Iterator[S3Settings]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _LetsEverythingThrough)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    keys = S3Credentials(access_key="key", secret_key="secret")
    endpoint = f"http://127.0.0.1:{server.server_port}"
    yield S3Settings(endpoint=endpoint, bucket="b", upload_signer=keys, read_signer=keys, worker=keys)
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_lets_everything_through_passes_nothing_that_is_needed(open_house: S3Settings) -> None:
    seen = list(examine(open_house, origin=ORIGIN))
    assert {each.name for each in seen if each.passed and each.needed} <= {"clock"}


def test_a_server_that_is_not_there_is_told_probe_by_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ATTEMPTS > 1
    keys = S3Credentials(access_key="key", secret_key="secret")
    nowhere = S3Settings(endpoint="http://127.0.0.1:9", bucket="b", upload_signer=keys, read_signer=keys, worker=keys)
    monkeypatch.setattr("readvault.adapters.s3_client.ATTEMPTS", 1)
    seen = list(examine(nowhere, origin=ORIGIN))
    assert len(seen) == len(PROBES)
    assert not any(each.passed for each in seen)
