"""The pages of pulls. Their IDs are secret there too."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.api.matrix.cells import Call, Expected, Row, members, secret
from tests.integration.api.matrix.pulls import _URL as URL
from tests.integration.api.matrix.pulls import _pull as pull_of
from tests.integration.api.matrix.pulls import reference
from tests.integration.api.matrix.scene import Scene

_LIST = "/web/groups/{group_id}/pulls"
_ONE = "/web/pulls/{pull_id}"
_REFERENCES = "/web/groups/{group_id}/references"


def _pages(codes: Expected) -> Expected:
    return {**codes, "anonymous": 303}


def _listed(scene: Scene) -> Call:
    pull_of(scene)
    return Call()


def _form(**fields: str) -> Callable[[Scene], Call]:
    return lambda _: Call(data=fields)


def _one(**fields: str) -> Callable[[Scene], Call]:
    return lambda scene: Call(path={"pull_id": pull_of(scene)}, data=fields or None)


def _referenced(scene: Scene) -> Call:
    reference(scene)
    return Call()


def _renewed(scene: Scene) -> Call:
    reference(scene)
    names = {"bucket": "lab-reads", "region": "eu-central-1", "access_key": "k", "secret_key": "s"}
    return Call(data={"action": "renew", **names})


_SIGNED = f"{URL}?X-Amz-Signature=1"

ROWS = [
    Row("GET", _LIST, _pages(members(200)), _listed),
    Row("GET", f"{_LIST}/new", _pages(members(200))),
    Row("POST", f"{_LIST}/new", _pages(members(303)), _form(action="pull-urls", urls=_SIGNED), note="URLs"),
    Row(
        "POST",
        f"{_LIST}/new",
        _pages(members(303)),
        _form(action="pull-bucket", bucket="lab-reads", what="keys", keys="x.fastq", access_key="k", secret_key="s"),
        note="a bucket",
    ),
    Row("POST", f"{_LIST}/new", _pages(members(400)), _form(action="pull-urls", urls="x"), note="nonsense"),
    Row("GET", _REFERENCES, _pages(members(200)), _referenced),
    Row(
        "POST",
        _REFERENCES,
        _pages(members(303)),
        _renewed,
        note="other keys",
    ),
    Row("POST", _REFERENCES, _pages(members(400)), _form(action="renew", bucket="x"), note="nonsense"),
    Row("GET", _ONE, _pages(secret(200)), _one()),
    Row("POST", _ONE, _pages(secret(303)), _one(action="start"), note="start"),
    Row("POST", _ONE, _pages(secret(303)), _one(action="cancel", reason="it fills the line"), note="cancel"),
    Row("POST", _ONE, _pages(secret(400)), _one(action="fly"), note="nonsense"),
]
