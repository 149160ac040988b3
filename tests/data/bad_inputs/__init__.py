"""Inputs with their verdicts: kinds of faults, in many places and packings, all made by the project.

`python -m tests.data.bad_inputs` prints the page that lists them.
"""

from __future__ import annotations

from collections import defaultdict

from tests.data.bad_inputs import aligned, cram, fastq, files, pairs
from tests.data.bad_inputs.row import Row


def table() -> list[Row]:
    """All rows."""
    return [*fastq.rows(), *files.rows(), *pairs.rows(), *aligned.rows(), *cram.rows()]


def page() -> str:
    """The page that lists the kinds, for people."""
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in table():
        kinds[row.kind].append(row)
    rows = table()
    bad = sum(row.reason is not None for row in rows)
    lines = [
        "# Inputs with their verdicts",
        "",
        f"The tests make {len(rows)} inputs, {bad} of them bad, and compare what is said of each with this table."
        " A bug found is a row more (`tests/data/bad_inputs/`); this page is printed by"
        " `python -m tests.data.bad_inputs`.",
        "",
        "| input | how many | verdict |",
        "|---|---|---|",
    ]
    for kind, members in kinds.items():
        verdicts = sorted({_verdict(row) for row in members})
        lines.append(f"| {kind} | {len(members)} | {', '.join(verdicts)} |")
    return "\n".join(lines) + "\n"


def _verdict(row: Row) -> str:
    if row.reason is not None:
        return f"refused: `{row.reason}`"
    return "accepted" if row.warning is None else f"accepted with a warning: `{row.warning}`"
