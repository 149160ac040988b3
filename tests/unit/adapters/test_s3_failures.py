"""What S3 says when it fails stays with us: no address, no key, no secret in a failure."""

from __future__ import annotations

import errno
import pickle
import traceback

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber
from pydantic import SecretStr

from readvault.adapters.s3 import S3Store
from readvault.adapters.s3_client import failures_of
from readvault.config import S3Credentials, S3Settings
from readvault.domain.errors import NotReady, ProcessingFailure, StoreUnavailable
from readvault.ports import StoredVersion

SECRET = "http://s3.example/bucket/incoming/key?X-Amz-Signature=abc"


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (EndpointConnectionError(endpoint_url=SECRET), "EndpointConnectionError"),
        (
            ClientError(
                {"Error": {"Code": "SlowDown", "Message": SECRET}, "ResponseMetadata": {"HTTPStatusCode": 503}},  # type: ignore[typeddict-item]
                "GetObject",
            ),
            "SlowDown (HTTP 503)",
        ),
        (OSError(errno.ENOSPC, "No space left", SECRET), "the scratch disk is full"),
        (OSError(errno.EIO, "I/O error", SECRET), "EIO"),
    ],
)
def test_a_failure_names_the_kind_and_nothing_secret(fault: Exception, text: str) -> None:
    with pytest.raises(ProcessingFailure) as caught, failures_of("fetch"):
        raise fault
    assert text in str(caught.value)
    shown = traceback.format_exception(caught.value, limit=0)
    assert "example" not in "".join(shown)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301 - our own object


def test_an_identity_without_keys_is_refused_instead_of_borrowing_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "else")
    store = S3Store(S3Settings(worker=S3Credentials(access_key="only", secret_key=SecretStr("worker"))))
    with pytest.raises(NotReady, match="upload_signer has no keys"):
        store.sign_put("incoming/x", size=1, sha256=None, expires=60)


def test_everything_that_matters_is_signed_and_addressed_to_the_public_endpoint() -> None:
    keys = S3Credentials(access_key="key", secret_key=SecretStr("secret"))
    store = S3Store(S3Settings(public_endpoint="https://s3.lab.example", upload_signer=keys))
    request = store.sign_put("incoming/x", size=5, sha256="00" * 32, expires=60)
    assert request.url.startswith("https://s3.lab.example/readvault/incoming/x?")
    signed = request.url.split("X-Amz-SignedHeaders=")[1].split("&")[0].split("%3B")
    assert set(signed) >= {"host", "if-none-match", "content-length", "x-amz-checksum-sha256"}
    assert {name.lower() for name in request.headers} == set(signed) - {"host"}


def test_a_bucket_that_is_not_there_is_an_outage_and_no_damage() -> None:
    """A wrong name in the settings would else note every object as lost, and every erasure as done."""
    missing = ClientError(
        {"Error": {"Code": "NoSuchBucket"}, "ResponseMetadata": {"HTTPStatusCode": 404}},  # type: ignore[typeddict-item]
        "GetObject",
    )
    with pytest.raises(StoreUnavailable), failures_of("fetch"):
        raise missing
    store = S3Store(S3Settings(worker=S3Credentials(access_key="only", secret_key=SecretStr("worker"))))
    stored = StoredVersion("vault/1/x", "v", 1)
    with Stubber(store._worker) as s3:
        for call in ("get_object", "delete_object"):
            s3.add_client_error(call, "NoSuchBucket", http_status_code=404)
        with pytest.raises(StoreUnavailable):
            store.sha256_of(stored)
        with pytest.raises(StoreUnavailable):
            store.delete(stored)
