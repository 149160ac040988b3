"""Data use terms."""

from __future__ import annotations

from readvault.db.tables import DataUseTerms
from tests.integration.api.matrix.cells import Call, Row, anybody, members
from tests.integration.api.matrix.scene import Scene


def _restricted(scene: Scene) -> None:
    accession = scene.released.name.accession
    with scene.house.sessions.begin() as session:
        session.add(
            DataUseTerms(
                accession=accession,
                terms_type="RESTRICTED",
                restricted_until="2999-01-01",
                user_name="alice",
                changed_at=0,
            )
        )


def _opening(scene: Scene) -> Call:
    return Call(json={"accessions": [scene.released.name.accession], "newDataUseTerms": {"type": "OPEN"}})


ROWS = [
    Row("PUT", "/data-use-terms", members(204), _opening, prepare=_restricted),
    Row("GET", "/data-use-terms/{accession}", anybody(200)),
]
