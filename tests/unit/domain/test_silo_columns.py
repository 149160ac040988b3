"""What of an entry's metadata stands on the lines of exported reads: nothing that would end SILO's loading."""

from __future__ import annotations

import json
from typing import Any

import pytest

from readvault.domain.silo_columns import MAX_INT, MAX_TEXT, Column, ColumnType, spliced


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (ColumnType.STRING, 'a "quoted"\\ text,\n with \x00, \x7f, \u2028 and \U0001f9a0'),
        (ColumnType.STRING, '","main":{"readId":"'),
        (ColumnType.STRING, "é" * MAX_TEXT),
        (ColumnType.INT, -MAX_INT),
        (ColumnType.FLOAT, 10**30),
        (ColumnType.FLOAT, 1.5e300),
        (ColumnType.DATE, "0001-01-01"),
        (ColumnType.BOOLEAN, False),
        (ColumnType.DATE, None),
    ],
)
def test_what_fits_stands_there_as_it_is(kind: ColumnType, value: Any) -> None:
    name = 'a "name", naïve'
    text, unfit = spliced([Column(name, kind, "source")], {"source": value})
    assert b"\n" not in text
    assert json.loads(b"{" + text + b"}") == {name: value}
    assert unfit == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (ColumnType.STRING, "half of a pair: \ud800"),
        (ColumnType.STRING, "x" * (MAX_TEXT + 1)),
        (ColumnType.STRING, 5),
        (ColumnType.STRING, ["a"]),
        (ColumnType.INT, MAX_INT + 1),
        (ColumnType.INT, True),
        (ColumnType.INT, 1.5),
        (ColumnType.FLOAT, 10**400),
        (ColumnType.FLOAT, float("nan")),
        (ColumnType.FLOAT, "1"),
        (ColumnType.DATE, "2026-02-30"),
        (ColumnType.DATE, "0000-01-01"),
        (ColumnType.DATE, "2026-W01-1"),
        (ColumnType.DATE, "２０２６-01-01"),
        (ColumnType.BOOLEAN, "true"),
    ],
)
def test_what_does_not_fit_is_null_and_counted(kind: ColumnType, value: Any) -> None:
    assert spliced([Column("x", kind, "source")], {"source": value}) == (b'"x":null', ["x"])
