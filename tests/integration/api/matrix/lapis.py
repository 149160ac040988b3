"""Queries of what everybody may read."""

from __future__ import annotations

from tests.integration.api.matrix.cells import Call, Row, anybody

_ROOM = "/{organism}/lapis/sample"
_SEQUENCES = ("unalignedNucleotideSequences", "alignedNucleotideSequences")


def _main(_: object) -> Call:
    return Call(path={"segment": "main"})


ROWS = [
    Row("GET", f"{_ROOM}/details", anybody(200)),
    Row("GET", f"{_ROOM}/aggregated", anybody(200)),
    *(Row("GET", f"{_ROOM}/{kind}", anybody(200)) for kind in _SEQUENCES),
    *(Row("GET", f"{_ROOM}/{kind}/{{segment}}", anybody(200), _main) for kind in _SEQUENCES),
]
