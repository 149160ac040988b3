"""The form that asks for a pull: as the API's request, and without what is secret when it is shown again."""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from readvault.api.errors import described
from readvault.api.schemas.pulls import PullRequest
from readvault.domain.errors import BadRequest
from readvault.web.site import Form

_BUCKET = {
    "name": "bucket",
    "region": "region",
    "endpoint": "endpoint",
    "accessKey": "access_key",
    "secretKey": "secret_key",
    "sessionToken": "session_token",
}
"""The API's words for what the fields hold; an empty one counts as absent."""
_SHOWN_AGAIN = ("urls", "category", "keep", "bucket", "region", "endpoint", "what", "keys", "prefix")
_SECRETS_IN = ("urls", "endpoint")
"""What people paste whole, with a signature or a password in it."""
_ARROW = " => "


def request_of(form: Form, group_id: int) -> PullRequest:
    """What the form asks for, checked as a request to the API is; raises BadRequest, quoting nothing."""
    try:
        return PullRequest.model_validate({"groupId": group_id, "keep": form.one("keep") or "copy", **_asked(form)})
    except ValidationError as fault:
        faults = fault.errors(include_url=False, include_input=False, include_context=False)
    raise BadRequest(described(RequestValidationError(faults)))


def shown_again(form: Form | None) -> dict[str, str]:
    """The texts that may stand in the form again; credentials, and URLs that could hold some, are not among them."""
    if form is None:
        return dict.fromkeys(_SHOWN_AGAIN, "")
    texts = {name: form.one(name) for name in _SHOWN_AGAIN}
    return texts | {name: "" for name in _SECRETS_IN if set(texts[name]) & {"?", "@"}}


def _asked(form: Form) -> dict[str, Any]:
    category = form.one("category") or None
    match form.one("action"):
        case "pull-urls":
            return {"urls": [_file("url", line, category) for line in _lines(form, "urls")]}
        case "pull-bucket":
            bucket: dict[str, Any] = {word: text for word, name in _BUCKET.items() if (text := form.one(name).strip())}
            if form.one("what") == "prefix":
                return {"bucket": bucket | {"prefix": form.one("prefix"), "category": category}}
            return {"bucket": bucket | {"keys": [_file("key", line, category) for line in _lines(form, "keys")]}}
    raise BadRequest("There is no such button.")


def _file(word: str, line: str, category: str | None) -> dict[str, str | None]:
    """A file's URL or key, perhaps with an arrow and the name that it shall have."""
    address, _, name = line.partition(_ARROW)
    return {word: address.strip(), "name": name.strip() or None, "category": category}


def _lines(form: Form, name: str) -> list[str]:
    return [line for each in form.one(name).splitlines() if (line := each.strip())]
