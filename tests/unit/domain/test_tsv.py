"""Tables: what goes in comes out again, whatever characters a cell has."""

from __future__ import annotations

import csv
import io

import pytest

from readvault.domain import tsv

NASTY = ["", "plain", " edge ", "tab\there", 'a "quote"', "line\nbreak", "lone\rreturn", "both\r\n", "'", "=1+1"]


def test_every_cell_is_read_as_it_was_written() -> None:
    columns = [f"c{number}" for number in range(len(NASTY))]
    text = "".join(tsv.lines(columns, [dict(zip(columns, NASTY, strict=True))]))
    assert list(csv.reader(io.StringIO(text, newline=""), dialect="excel-tab", strict=True)) == [columns, NASTY]


def test_a_lone_carriage_return_is_quoted_on_every_python() -> None:
    assert tsv.line(["a\rb", "c"]) == '"a\rb"\tc\n'


@pytest.mark.parametrize(("value", "cell"), [(None, ""), (True, "true"), (False, "false"), (0, "0"), (-1.5, "-1.5")])
def test_values_that_are_no_texts(value: object, cell: str) -> None:
    assert list(tsv.lines(["a"], [{"a": value}], for_spreadsheets=True)) == ["a\n", f"{cell}\n"]


def test_a_text_that_could_run_as_a_formula_is_marked_for_spreadsheets_only() -> None:
    row = {"a": "=cmd()", "b": "\r=1", "c": "-2"}
    assert list(tsv.lines(list(row), [row]))[1] == '=cmd()\t"\r=1"\t-2\n'
    assert list(tsv.lines(list(row), [row], for_spreadsheets=True))[1] == "'=cmd()\t\"'\r=1\"\t'-2\n"
