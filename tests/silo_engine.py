"""SILO's engine (rhydb, AGPL) in a process of its own: it loads lines and answers questions; nothing of it runs here.

    python -m tests.silo_engine < question.json

The engine's own log goes to its standard output, so the answer is written to a file.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MISSING = importlib.util.find_spec("rhydb") is None
"""Whether the engine is not installed; it has wheels for few platforms only."""

_LIMIT = 120


def ask(
    lines: Path,
    queries: Mapping[str, str],
    *,
    genomes: Mapping[str, str],
    genes: Mapping[str, str] | None = None,
    columns: Sequence[str] = (),
) -> dict[str, list[dict[str, Any]]]:
    """The answers to SaneQL queries on the table `data`, by the queries' names.

    `lines` is plain NDJSON, `genomes` and `genes` are reference sequences by key, `columns` declares metadata as SaneQL
    does (`sampleId := string(generateIndex := true)`); `readId` is the primary key. Fails when a line is refused.
    """
    genes = genes or {}
    declared = [
        "readId := string",
        *columns,
        *(f'"{name}" := nucleotideSequence(reference := "{name}")' for name in genomes),
        *(f'"{name}" := aminoAcidSequence(reference := "{name}")' for name in genes),
    ]
    references = [{"name": name, "type": "nucleotide", "sequence": text} for name, text in genomes.items()]
    references += [{"name": name, "type": "amino_acid", "sequence": text} for name, text in genes.items()]
    with tempfile.TemporaryDirectory() as place:
        answer = Path(place) / "answer.json"
        question = {
            "references": references,
            "table": f"createTable(data, {{{', '.join(declared)}}}, primaryKey := readId)",
            "lines": str(lines),
            "queries": dict(queries),
            "answer": str(answer),
        }
        command = [sys.executable, "-m", "tests.silo_engine"]
        done = subprocess.run(
            command, input=json.dumps(question), text=True, capture_output=True, timeout=_LIMIT, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found: dict[str, list[dict[str, Any]]] = json.loads(answer.read_text())
        return found


def _answer(question: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    database = importlib.import_module("rhydb").Database()
    for reference in question["references"]:
        database.append_data_from_string("reference_genomes", json.dumps(reference))
    database.query(question["table"])
    database.append_data_from_file("data", question["lines"])
    return {name: database.query(query).to_pylist() for name, query in question["queries"].items()}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    Path(asked["answer"]).write_text(json.dumps(_answer(asked), default=str))
