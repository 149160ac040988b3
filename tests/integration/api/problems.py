"""The one JSON shape of errors, asserted everywhere by the same helper."""

from __future__ import annotations

from typing import Any

import httpx

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    410: "Gone",
    413: "Content Too Large",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


def assert_problem(response: Any, status: int, text: str = "") -> str:
    """The response is problem+json with exactly these keys, and its detail holds `text`; the detail."""
    assert isinstance(response, httpx.Response)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    expected = {"type": "about:blank", "title": TITLES[status], "status": status, "instance": response.request.url.path}
    faults = {"errors": body["errors"]} if status == 422 and "errors" in body else {}
    assert body == {**expected, "detail": body["detail"], **faults}
    if status in (401, 403):
        assert response.headers["www-authenticate"] == "Bearer"
    assert text in body["detail"]
    return str(body["detail"])
