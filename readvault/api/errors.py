"""The one place where faults become HTTP: a status code and a problem+json body (RFC 9457)."""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from readvault.adapters.identity import InvalidToken
from readvault.db.faults import is_passing
from readvault.domain import errors
from readvault.domain.annotations import Annotation, FieldType
from readvault.domain.organism import FILES_PREFIX

log = logging.getLogger(__name__)

STATUS: Mapping[type[Exception], int] = {
    errors.BadRequest: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.TooLarge: 413,
    errors.Unprocessable: 422,
    errors.InvalidSubmission: 422,
    errors.TooMany: 429,
    errors.Unavailable: 503,
}
TITLES = {413: "Content Too Large", 422: "Unprocessable Entity"}
"""Titles that differ between versions of Python, or from what Loculus's clients expect."""
RETRY_AFTER_SECONDS = "10"
MAX_FAULTS = 20
MAX_DETAIL = 100_000
MAX_MESSAGE = 1000
MAX_LISTED = 10_000
"""A refusal must not be longer than what was sent: characters of a detail, of a fault's message, and faults."""
_OURS = "Something of ours failed; nothing was lost, please try again."
_REFUSED_BEARER = (
    'Bearer error="invalid_token", error_description="{}", error_uri="https://tools.ietf.org/html/rfc6750#section-3.1"'
)

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "limit": {
            "type": "object",
            "description": "The limit that the request would exceed.",
            "properties": {
                "name": {"type": "string"},
                "limit": {"type": "integer"},
                "used": {"type": "integer"},
                "requested": {"type": "integer"},
                "freesAt": {"type": ["integer", "null"], "description": "Seconds since 1970; null: nobody can know."},
            },
        },
        "errors": {
            "type": "array",
            "description": "Every fault of a submitted table, one by one.",
            "items": {
                "type": "object",
                "properties": {
                    "row": {"type": ["integer", "null"]},
                    "line": {"type": ["integer", "null"]},
                    "column": {"type": ["string", "null"]},
                    "reason": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
    },
    "required": ["type", "title", "status", "detail", "instance"],
}


class Problem(JSONResponse):
    """An error as the caller sees it."""

    media_type = "application/problem+json"

    def __init__(
        self,
        status: int,
        detail: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        faults: Sequence[Annotation] = (),
        hit: errors.LimitHit | None = None,
    ) -> None:
        title = TITLES.get(status) or HTTPStatus(status).phrase
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": _cut(detail, MAX_DETAIL),
            "instance": path,
        }
        if faults:
            body["errors"] = [listed(each) for each in faults[:MAX_LISTED]]
        extra: dict[str, str] = {}
        if status in (401, 403):
            extra["WWW-Authenticate"] = "Bearer"
        if status == 503:
            extra["Retry-After"] = RETRY_AFTER_SECONDS
        if hit is not None:
            body["limit"] = told(hit)
            if hit.wait is not None:
                extra["Retry-After"] = str(math.ceil(hit.wait))
        super().__init__(body, status, headers={**extra, **(headers or {})})


def answer(fault: Exception, path: str, request_id: str) -> Response:
    """The response that a fault becomes. What is ours is logged with the request's ID and told without internals."""
    if isinstance(fault, InvalidToken):
        challenge = _REFUSED_BEARER.format(f"An error occurred while attempting to decode the Jwt: {fault}")
        return Response(status_code=401, headers={"WWW-Authenticate": challenge})
    if isinstance(fault, HTTPException):
        return Problem(fault.status_code, str(fault.detail), path, fault.headers)
    if isinstance(fault, RequestValidationError):
        return Problem(400, described(fault), path)
    if isinstance(fault, errors.InvalidSubmission):
        text = "\n".join(annotation.message for annotation in fault.annotations)
        return Problem(422, text, path, faults=fault.annotations)
    for kind, status in STATUS.items():
        if isinstance(fault, kind):
            broken = fault if isinstance(fault, errors.RuleViolation) else None
            faults, hit = (broken.annotations, broken.hit) if broken is not None else ((), None)
            wait = {"Retry-After": str(fault.retry_after)} if isinstance(fault, errors.Unavailable) else None
            return Problem(status, str(fault), path, wait, faults=faults, hit=hit)
    if is_passing(fault):  # locked too long, a deadlock's victim, out of reach: nothing was written
        log_unexpected(fault, request_id)
        return Problem(503, _OURS, path)
    if isinstance(fault, errors.ProcessingFailure | errors.NotReady):
        log.error("request %s failed: %s", request_id, fault)
        return Problem(503, _OURS, path)
    log_unexpected(fault, request_id)
    return Problem(500, f"Unexpected error. Please report it with this request ID: {request_id}", path)


def listed(fault: Annotation) -> dict[str, Any]:
    """One fault of a table as a machine reads it: the entry's number and the file's line count from 1."""
    columns = [(FILES_PREFIX if each.type == FieldType.FILE else "") + each.name for each in fault.fields]
    return {
        "row": fault.record,
        "line": fault.line,
        "column": columns[0] if columns else None,
        "reason": str(fault.reason),
        "message": _cut(fault.message, MAX_MESSAGE),
    }


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}… ({len(text) - length} more characters)"


def told(hit: errors.LimitHit) -> dict[str, Any]:
    """A limit as a machine reads it; `freesAt` is when the request would fit, in seconds since 1970."""
    return {
        "name": hit.name,
        "limit": hit.limit,
        "used": hit.used,
        "requested": hit.requested,
        "freesAt": None if hit.frees_at is None else math.ceil(hit.frees_at),
    }


def log_unexpected(fault: BaseException, request_id: str) -> None:
    """Log where a fault came from, but not its text: messages of databases and S3 hold values and addresses."""
    frames = traceback.extract_tb(fault.__traceback__)
    ours = [frame for frame in frames[:-1] if "readvault" in frame.filename]
    where = "".join(traceback.format_list([*ours, *frames[-1:]]))
    log.error("request %s failed unexpectedly: %s\n%s", request_id, type(fault).__name__, where)


def described(fault: RequestValidationError) -> str:
    """What is wrong with a request, in a sentence for each fault."""
    faults = fault.errors()
    sentences = [_sentence(each) for each in faults[:MAX_FAULTS]]
    if len(faults) > MAX_FAULTS:
        sentences.append(f"{len(faults) - MAX_FAULTS} more faults are not listed.")
    return " ".join(sentences)


def _sentence(fault: Mapping[str, Any]) -> str:
    place = [str(part) for part in fault["loc"] if part not in ("body", "query", "path", "header")]
    if fault["type"] == "json_invalid":
        return "Failed to read request: the body is no valid JSON."
    text = str(fault["msg"]).removeprefix("Value error, ")
    name = ".".join(place)
    if fault["type"] == "missing":
        return f"Required parameter '{name}' is not present." if place else "A JSON body is required."
    return f"'{name}': {text}." if place else f"Failed to read request: {text}."


def install(app: FastAPI) -> None:
    """Let every fault that a route raises be answered here."""

    def handle(request: Request, fault: Exception) -> Response:
        return answer(fault, request.url.path, request.state.request_id)

    for kind in (errors.ReadvaultError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, handle)
