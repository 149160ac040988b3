"""The log has one line an event and no secret in it."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from readvault import logs

SECRETS = {
    "signature": ("url ?X-Amz-Signature={}&a=b", "8f3ab1c2d4e5f60718293a4b5c6d7e8f"),
    "credential": ("url ?X-Amz-Credential={}&a=b", "KEYID%2F20261122%2Fus-east-1%2Fs3%2Faws4_request"),
    "session token": ("url ?x-amz-security-token={}", "FwoGZXIvYXdzEXAMPLE"),
    "JWT": ("token {} was refused", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"),
    "machine token": ("token {} was refused", "rvt_0123456789abcdefABCDEF_-xyz"),
    "bearer": ("Authorization: Bearer {}", "abcdefgh.12345"),
    "access key": ("key {} has no rights", "AKIAIOSFODNN7EXAMPLE"),
    "password in a form": ("grant_type=password&username=a&password={}", "hunter22"),
    "password in JSON": ('{{"password": "{}"}}', "hunter22"),
    "password in an address": ("postgresql+psycopg://readvault:{}@db:5432/x", "hunter22"),
    "key of a dropped file": ("incoming/drop-0e8c6f2e/{} is lost", "abcdefghij234567klmnopqrst"),
    "key of an original": ("incoming/b/{} is lost", "0e8c6f2e-0000-4000-8000-000000000000"),
    "key of a processed file": (
        "vault/7/{} is lost",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
    "secret key": ("secret_key={}", "wJalrXUtnFEMI/K7MDENG"),
}
HARMLESS = [
    "job 0e8c6f2e-0000-4000-8000-000000000000 needs attention: stage: S3 answered SlowDown (HTTP 503) to PutObject",
    "integrity: vault object 843f953487ed is damaged: missing",
    "LOC_000001Y.1 by alice@example.org: 2 files, 1234 bytes at 12:30:05",
]


@pytest.mark.parametrize("formatter", [logs.TextFormatter(), logs.JsonFormatter()], ids=["text", "json"])
@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_are_masked_wherever_they_stand(formatter: logging.Formatter, kind: str) -> None:
    text, secret = SECRETS[kind]
    record = _record("it was %s", text.format(secret))
    try:
        raise ValueError(text.format(secret))
    except ValueError:
        record.exc_info = sys.exc_info()
    line = formatter.format(record)
    assert "ValueError" in line
    assert secret not in line
    assert line.count(logs.MASK) == 2  # in the message and in what was raised


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert logs.masked(text) == text


def test_json_lines_are_one_object_each() -> None:
    record = _record("two\nlines of %s", "Zürich")
    line = logs.JsonFormatter().format(record)
    assert "\n" not in line
    said = json.loads(line)
    assert (said["level"], said["logger"], said["message"]) == ("error", "readvault.x", "two\nlines of Zürich")
    assert said["at"].endswith("+00:00")
    try:
        raise KeyError("k")
    except KeyError:
        record.exc_info = sys.exc_info()
    assert "KeyError" in json.loads(logs.JsonFormatter().format(record))["exception"]


def _record(message: str, *arguments: str) -> logging.LogRecord:
    return logging.LogRecord("readvault.x", logging.ERROR, __file__, 1, message, arguments, None)
