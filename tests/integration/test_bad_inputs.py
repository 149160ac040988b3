"""Every input of the table gets its verdict, with reason, record and line, and with nothing of ours to blame."""

from __future__ import annotations

from pathlib import Path

import pytest

from readvault.domain.annotations import Annotation
from readvault.domain.errors import InvalidSubmission
from readvault.domain.organism import FileCategory
from readvault.reads.sample import InputFile
from readvault.reads.validate.validation import validate
from tests.data.bad_inputs import page, table
from tests.data.bad_inputs.aligned import REFERENCE
from tests.data.bad_inputs.row import Row

PAGE = Path(__file__).parents[2] / "docs" / "bad-inputs.md"


def said_of(row: Row, folder: Path, reference: Path) -> tuple[tuple[Annotation, ...], tuple[Annotation, ...]]:
    """Faults and warnings."""
    inputs = []
    for number, (label, data) in enumerate(row.make().items()):
        path = folder / f"input{number}"
        path.write_bytes(data)
        inputs.append(InputFile(path, label))
    (scratch := folder / "scratch").mkdir()
    try:
        _, report = validate(inputs, rules=FileCategory(), platform=None, directory=scratch, references=(reference,))
    except InvalidSubmission as refusal:
        return refusal.annotations, ()
    return (), report.warnings


def complaint(row: Row, faults: tuple[Annotation, ...], warnings: tuple[Annotation, ...]) -> str | None:
    """What is not as the row says."""
    if row.reason is None:
        expected = () if row.warning is None else (row.warning,)
        found = {warning.reason for warning in warnings}
        return None if not faults and found == set(expected) else f"{faults[:2]} {warnings[:2]}"
    if not faults or faults[0].reason not in (row.reason, *row.also) or not faults[0].message:
        return f"{faults[:2]}"
    if faults[0].reason is row.reason and row.record not in (None, faults[0].record):
        return f"record {faults[0].record} instead of {row.record}"
    if faults[0].reason is row.reason and row.line not in (None, faults[0].line):
        return f"line {faults[0].line} instead of {row.line}"
    return None


def test_every_input_of_the_table_gets_its_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readvault.reads.validate.formats.RATIO_COUNTS_FROM", 1_000_000)
    reference = tmp_path / "reference.fa"
    reference.write_text(f">ref\n{REFERENCE}\n")
    wrong = []
    for number, row in enumerate(rows := table()):
        (folder := tmp_path / str(number)).mkdir()
        try:
            faults, warnings = said_of(row, folder, reference)
        except Exception as fault:
            wrong.append(f"{row.kind} ({row.name}): {fault!r}")
            continue
        if said := complaint(row, faults, warnings):
            wrong.append(f"{row.kind} ({row.name}): {said}")
    assert sum(row.reason is not None for row in rows) >= 420
    assert not wrong, "\n".join(wrong)


def test_the_page_lists_them() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
