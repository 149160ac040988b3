"""The maintainers' pages and differences: everybody else gets 403, strangers are sent to the login."""

from __future__ import annotations

from readvault.services.reprocessing import orders
from readvault.services.reprocessing.choices import Choice
from readvault.services.storage.erasing import erasure
from tests.houses import MAINTAINER
from tests.integration.api.matrix.admin import REASON, of_job, stuck
from tests.integration.api.matrix.cells import Call, Expected, Row, anybody, role
from tests.integration.api.matrix.scene import Scene
from tests.integration.services import compared, scenes

_WEB = "/web/maintain"


def _page(code: int) -> Expected:
    return {**role("maintainer", code), "anonymous": 303}


def _compared(scene: Scene) -> Call:
    return Call(path={"compared_id": compared.processed_again(scene.house, scene.released.name)})


def _retry(scene: Scene) -> Call:
    return Call(data={"action": "retry", "chosen": of_job(scene).path["job_id"]})


def _erase(scene: Scene) -> Call:
    asker = type(MAINTAINER)("somebody else", MAINTAINER.roles)
    row, _ = erasure.request(scene.house, asker, [scene.released.name], REASON["reason"])
    fields = {"action": "confirm", "sure": "yes", "objects": str(row.objects), "code": row.code}
    return Call(path={"erasure_id": row.id}, data=fields)


def _decide(scene: Scene) -> Call:
    return Call(path=_compared(scene).path, data={"action": "roll-back", **REASON})


def _decide_together(scene: Scene) -> Call:
    chosen = str(_compared(scene).path["compared_id"])
    return Call(data={"action": "keep", "chosen": chosen, **REASON})


def _order(scene: Scene) -> int:
    newer = scenes.of_next_pipeline(scene.house)
    row, _ = orders.request(newer, MAINTAINER, scenes.ORGANISM, Choice(), REASON["reason"])
    return row.id or 0


def _cancel(scene: Scene) -> Call:
    return Call(path={"order_id": _order(scene)}, data={"action": "cancel"})


def _count(_scene: Scene) -> Call:
    return Call(data={"action": "count", "organism": scenes.ORGANISM})


ROWS = [
    Row("GET", "/admin/compared-results/{compared_id}/difference", role("maintainer", 200), _compared),
    Row(
        "GET",
        "/admin/compared-results/{compared_id}/difference",
        role("maintainer", 404),
        lambda _: Call(path={"compared_id": 99}),
        note="unknown",
    ),
    Row("GET", f"{_WEB}/", anybody(303)),
    Row("GET", _WEB, _page(200)),
    Row("GET", f"{_WEB}/jobs", _page(200), prepare=stuck),
    Row("POST", f"{_WEB}/jobs", _page(303), _retry, prepare=stuck),
    Row("GET", f"{_WEB}/reprocessing", _page(200)),
    Row("GET", f"{_WEB}/reprocessing/new", _page(200)),
    Row("POST", f"{_WEB}/reprocessing/new", _page(200), _count),
    Row("GET", f"{_WEB}/reprocessing/{{order_id}}", _page(200), lambda scene: Call(path={"order_id": _order(scene)})),
    Row("POST", f"{_WEB}/reprocessing/{{order_id}}", _page(303), _cancel),
    Row("GET", f"{_WEB}/results", _page(200)),
    Row("POST", f"{_WEB}/results", _page(303), _decide_together),
    Row("GET", f"{_WEB}/results/{{compared_id}}", _page(200), _compared),
    Row("POST", f"{_WEB}/results/{{compared_id}}", _page(303), _decide),
    Row("GET", f"{_WEB}/confirmations", _page(200)),
    Row("POST", f"{_WEB}/confirmations/erasures/{{erasure_id}}", _page(303), _erase),
]
