"""Exports of aligned reads for SILO: all that is in them is everybody's."""

from __future__ import annotations

from readvault.db import clock
from readvault.db.tables import SiloExport, SiloExportFile
from readvault.domain.exports import FILES
from tests.integration.api.matrix.cells import Call, Row, anybody
from tests.integration.api.matrix.scene import Scene

_LIST = "/{organism}/get-silo-reads"
_FILE = "/{organism}/get-silo-reads/{export}/{name}"
_ID = "0123456789abcdef"


def _exported(scene: Scene) -> None:
    organism = scene.values["organism"]
    with scene.house.sessions.begin() as session:
        at = clock.read(session)
        session.add(
            SiloExport(
                id=_ID, organism=organism, state="ready", begun_at=at, ready_at=at, manifest_digest="0" * 64,
                figures={"samples": 0},
            )
        )  # fmt: skip
        session.flush()
        for name in FILES:
            session.add(
                SiloExportFile(
                    export_id=_ID, name=name, key=f"exports/{organism}/{_ID}/{name}", version_id="v1", size=1,
                    sha256="0" * 64,
                )
            )  # fmt: skip


def _file(export: str, name: str = "reads.ndjson.zst") -> object:
    return lambda _: Call(path={"export": export, "name": name})


ROWS = [
    Row("GET", _LIST, anybody(200), prepare=_exported),
    Row("GET", _FILE, anybody(307), _file("latest"), prepare=_exported),
    Row("HEAD", _FILE, anybody(307), _file(_ID), prepare=_exported),
    Row("GET", _FILE, anybody(404), _file("f" * 16), note="nothing is exported"),
]
