"""The log: one line an event, as text or JSON, and no secret in it.

What could be a secret is masked by its looks, in messages and in tracebacks: signatures of S3,
tokens, keys, passwords in addresses. It is the last net: nothing should log a secret to begin with.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Literal

Style = Literal["text", "json"]
MASK = "***"
CHATTY = ("botocore", "boto3", "urllib3", "httpx", "httpcore", "s3transfer")
_SECRETS = (
    # AWS guide to pre-signed URLs: signature, credential and session token are what a log must not hold.
    re.compile(r"(?i)((?:X-Amz-(?:Signature|Credential|Security-Token)|AWSAccessKeyId|Signature)=)[^&\s\"'<>]+"),
    re.compile(r"()\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"),
    re.compile(r"()\brv[td]_[A-Za-z0-9_-]{16,}"),
    re.compile(r"()\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"(?i)(\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(
        r"(?i)((?:password|passwd|secret(?:[_-]?key)?|access_token|refresh_token|client_secret)[\"']?\s*[=:]\s*[\"']?)[^&\s\"',}]+"
    ),
    # Keys of objects: a file ID or a hash is a secret too.
    re.compile(r"\b((?:incoming|vault)/)[\w.-]+/[\w-]{26,}"),
    re.compile(r"(://[^/\s:@]+:)[^@\s/]+(?=@)"),
)


def masked(text: str) -> str:
    """The text without what looks like a secret.

    >>> masked("GET https://s3.example.org/b/k?X-Amz-Signature=0123abcd&x=1")
    'GET https://s3.example.org/b/k?X-Amz-Signature=***&x=1'
    >>> masked("postgresql://readvault:geheim@db/readvault")
    'postgresql://readvault:***@db/readvault'
    """
    for secret in _SECRETS:
        text = secret.sub(rf"\g<1>{MASK}", text)
    return text


class TextFormatter(logging.Formatter):
    """A line that people read."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


class JsonFormatter(logging.Formatter):
    """A line that machines read: `at` (UTC), `level`, `logger`, `message`, and `exception` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = masked(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def handler(style: Style) -> logging.Handler:
    """A handler that writes to standard error."""
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    return to_stderr


def to_stderr(style: Style = "text", level: int = logging.INFO) -> None:
    """Send the log of this process to standard error, unless it is sent somewhere already."""
    # A record that can't be written would otherwise be printed as it is, secrets and all.
    logging.raiseExceptions = False
    logging.basicConfig(level=level, handlers=[handler(style)])
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
