"""The pages. Whoever has a token comes with it in the cookie, as a browser does; strangers are sent to the login."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from readvault.web.sessions import csrf_of
from tests.integration.api.matrix.cells import Call, Expected, Row, anybody, members, secret, users
from tests.integration.api.matrix.scene import Scene

_LOGIN = {"anonymous": 303}


def as_browser(headers: Mapping[str, str], call: Call) -> tuple[dict[str, str], Call]:
    """The same request from a browser: the token in the cookie, and its proof in the form."""
    token = headers.get("Authorization", "").removeprefix("Bearer ")
    cookie = {"Cookie": f"readvault-session={token}"} if token else {}
    if call.data is not None and token:
        call = replace(call, data={"csrf": csrf_of(token), **call.data})
    return cookie, call


def _pages(codes: Expected) -> Expected:
    return {**codes, **_LOGIN}


def _chosen(scene: Scene, action: str) -> Call:
    value = f"{scene.processed.name}:{scene.processed.digest}"
    fields = {"action": action, "chosen": value, "digest": scene.processed.digest, "reason": "swapped wells"}
    return Call(data=fields)


def _approve(scene: Scene) -> Call:
    return _chosen(scene, "approve")


def _send_back(scene: Scene) -> Call:
    return _chosen(scene, "send-back")


def _delete(scene: Scene) -> Call:
    return Call(data={"action": "delete", "sure": "yes"})


def _revoke(scene: Scene) -> Call:
    name = scene.released.name
    path = {"accession": name.accession, "version": name.version}
    return Call(path=path, data={"action": "revoke", "sure": "yes", "reason": "wrong sample"})


def _processed(scene: Scene) -> Call:
    return Call(path={"file_id": scene.processed.processed_file})


def _original(scene: Scene) -> Call:
    return Call(path={"file_id": scene.processed.original_file})


_ENTRY = "/web/organisms/{organism}/entries/{accession}/{version}"
_BATCH = "/web/organisms/{organism}/batches/{batch_id}"

ROWS = [
    Row("GET", "/web", _pages(users(200))),
    Row("GET", "/web/", anybody(303)),
    Row("GET", "/web/static/{name}", anybody(200), lambda _: Call(path={"name": "style.css"})),
    Row("GET", "/web/login", anybody(200)),
    Row("POST", "/web/login", anybody(403), lambda _: Call(data={"name": "alice"}), note="without proof"),
    Row("GET", "/web/callback", anybody(403)),
    Row("POST", "/web/logout", _pages(users(200, small_token=200)), lambda _: Call(data={"action": "submit"})),
    Row("GET", "/web/organisms/{organism}", _pages(users(200))),
    Row("GET", "/web/organisms/{organism}/entries", _pages(users(200))),
    Row("GET", _BATCH, _pages(secret(200))),
    Row("POST", _BATCH, _pages(secret(303)), _approve, note="approve"),
    Row("POST", _BATCH, _pages(secret(303)), _send_back, note="send back"),
    Row("GET", _ENTRY, _pages(members(200))),
    Row("POST", _ENTRY, _pages(members(303)), _approve, note="approve"),
    Row("POST", _ENTRY, _pages(members(303)), _send_back, note="send back"),
    Row("POST", _ENTRY, _pages(members(303)), _delete, note="delete"),
    Row("POST", _ENTRY, _pages(members(303)), _revoke, note="revoke"),
    Row("GET", f"{_ENTRY}/files/{{file_id}}", _pages(members(303)), _processed, note="processed"),
    Row(
        "GET",
        f"{_ENTRY}/files/{{file_id}}",
        _pages(members(303, maintainer=404)),
        _original,
        note="original",
    ),
]
