"""Reprocessing: maintainers only, and what begins something needs the person."""

from __future__ import annotations

from collections.abc import Callable

from sqlmodel import col, select

from readvault.db.tables import Reprocessing
from readvault.domain.reprocessing import OrderState, ResultState
from readvault.services.reprocessing import decisions, orders
from readvault.services.reprocessing.choices import Choice
from tests.houses import MAINTAINER
from tests.integration.api.matrix.cells import Call, Row, role
from tests.integration.api.matrix.scene import Scene
from tests.integration.services import compared, scenes

WHY = {"reason": "a reason that says something"}
ONE = "/admin/reprocessings/{order_id}"
RESULT = "/admin/compared-results/{compared_id}"


def _order(*steps: str) -> Callable[[Scene], Call]:
    """An order that was asked for, and confirmed, paused, … by these steps."""

    def make(scene: Scene) -> Call:
        newer = scenes.of_next_pipeline(scene.house)
        row, _ = orders.request(newer, MAINTAINER, scenes.ORGANISM, Choice(), WHY["reason"])
        for step in steps:
            getattr(orders, step)(newer, MAINTAINER, row.id or 0)
        return Call(path={"order_id": row.id or 0}, json=WHY)

    return make


def _of_today(scene: Scene) -> Call:
    """An order that the scene's own pipeline version can begin."""
    call = _order()(scene)
    with scene.house.sessions.begin() as session:
        row = session.exec(select(Reprocessing).order_by(col(Reprocessing.id).desc())).first()
        assert row is not None
        assert row.state == OrderState.REQUESTED.value
        row.pipeline_version = scene.house.organism(scenes.ORGANISM).pipeline.version
    return call


def _request(scene: Scene) -> Call:
    return Call(json={"organism": scenes.ORGANISM, "choice": {"released": "released", "tool": "minimap2"}})


def _result(state: ResultState) -> Callable[[Scene], Call]:
    def make(scene: Scene) -> Call:
        number = compared.processed_again(scene.house, scene.released.name)
        if state is ResultState.WAITS:
            decisions.roll_back(scene.house, MAINTAINER, scene.released.name, WHY["reason"])
        return Call(path={"compared_id": number}, json=WHY)

    return make


def _back(scene: Scene) -> Call:
    compared.processed_again(scene.house, scene.released.name)
    return Call(json={"accessionVersion": str(scene.released.name), **WHY})


ROWS = [
    Row("POST", "/admin/reprocessings", role("maintainer", 200), _request, note="counted"),
    Row(
        "POST",
        "/admin/reprocessings",
        role("maintainer", 409),
        lambda _: Call(json={"organism": scenes.ORGANISM, "dryRun": False, **WHY}),
        note="nothing to do",
    ),
    Row("GET", "/admin/reprocessings", role("maintainer", 200)),
    Row("GET", ONE, role("maintainer", 200), _order()),
    Row("GET", ONE, role("maintainer", 404), lambda _: Call(path={"order_id": 99}), note="unknown"),
    Row("POST", f"{ONE}/confirm", role("maintainer", 200), _of_today),
    Row("POST", f"{ONE}/confirm", role("maintainer", 409), _order("confirm"), note="twice"),
    Row("POST", f"{ONE}/pause", role("maintainer", 200), _order("confirm")),
    Row("POST", f"{ONE}/resume", role("maintainer", 200), _order("confirm", "pause")),
    Row("POST", f"{ONE}/cancel", role("maintainer", 200), _order("confirm")),
    Row("POST", f"{ONE}/roll-back", role("maintainer", 202), _order("confirm")),
    Row("POST", f"{ONE}/roll-back", role("maintainer", 409), _order(), note="never began"),
    Row("GET", "/admin/compared-results", role("maintainer", 200)),
    Row("POST", f"{RESULT}/accept", role("maintainer", 200), _result(ResultState.WAITS)),
    Row("POST", f"{RESULT}/keep", role("maintainer", 409), _result(ResultState.SWITCHED), note="stands"),
    Row("POST", "/admin/results/roll-back", role("maintainer", 200), _back),
    Row(
        "POST",
        "/admin/results/roll-back",
        role("maintainer", 404),
        lambda _: Call(json={"accessionVersion": "LOC_NONE.1", **WHY}),
        note="unknown",
    ),
]
