"""The OpenAPI description: what FastAPI sees in the routes, and who may ask, and how every route refuses."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from readvault.api.errors import PROBLEM_SCHEMA
from readvault.api.middleware import is_public

_BEARER = "bearer"
_METHODS = frozenset({"get", "head", "post", "put", "patch", "delete"})
_REFUSALS = {
    "400": "The request is malformed, or names an organism that doesn't exist.",
    "401": "Authentication is needed. A token that is malformed, forged or expired gets this with an empty body.",
    "403": "The user may not do that.",
    "404": "There is no such thing, or the user may not know of it.",
    "413": "The body is too long, or a file is larger than allowed.",
    "422": "What the request asks for is not possible.",
    "503": "Something that readvault needs can't be reached, or the instance is read-only; nothing was lost.",
}

_ROOMS = {
    "instance": "Whether the instance is well, what it is, and what its organisms expect.",
    "login": "Tokens for people, where readvault is its own issuer.",
    "tokens": "Tokens for programs, with what they may do.",
    "groups": "Those who own entries together.",
    "limits": "How much may be uploaded, by whom, and how much of it is used.",
    "files": "Uploads, straight to S3: requested, resumed, put together, given up.",
    "drop links": "Links with which others deliver files for a group, and what came through them.",
    "pulls": "Files that are fetched from a submitter's own S3.",
    "submission": "What a submitter sends: entries, revisions, revocations, edits, deletions.",
    "entries": "Lists of entries and of where they stand.",
    "batches": "What was submitted together, as one table.",
    "review": "Look at what processing made of a submission; approve it, or send it back.",
    "manifests": "What an accession version is, to the byte.",
    "downloads": "Files, by redirects to S3.",
    "released data": "All that is released, as a stream.",
    "queries": "Released entries on LAPIS's paths.",
    "data use terms": "Under which terms released entries may be used.",
    "external pipelines": "For preprocessing pipelines in Loculus's protocol.",
    "maintenance": "For maintainers: interventions, break-glass, who read what.",
}
"""The groups of operations, in the order in which an entry meets them."""


def install(app: FastAPI) -> None:
    """Let the app describe itself at `/api-docs` with its security and its refusals."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(plain())
        return plain()

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(description: dict[str, Any]) -> None:
    components = description.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
    components["securitySchemes"] = {
        _BEARER: {
            "type": "http",
            "scheme": "bearer",
            "description": "A JWT of the configured issuer, or a machine token.",
        }
    }
    description["tags"] = [{"name": name, "description": text} for name, text in _ROOMS.items()]
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            if method in _METHODS:
                _guard(operation, public=is_public(method.upper(), path))
                _refuse(operation, path, public=is_public(method.upper(), path))


def _guard(operation: dict[str, Any], *, public: bool) -> None:
    # A public route takes a token too, and some show more to whoever sends one.
    operation["security"] = [{}, {_BEARER: []}] if public else [{_BEARER: []}]


def _refuse(operation: dict[str, Any], path: str, *, public: bool) -> None:
    responses = operation["responses"]
    statuses = {"400", "503"}
    if not public:
        statuses |= {"401", "403", "422"}
    if "{" in path:
        statuses.add("404")
    if "requestBody" in operation:
        statuses.add("413")
    for status in sorted(statuses - set(responses)):
        responses[status] = _problem(_REFUSALS[status])
    if "default" in responses:
        responses["default"] = _problem("Any other refusal.")


def _problem(text: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
