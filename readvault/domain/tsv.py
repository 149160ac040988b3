"""Tab-separated tables: exact for machines, harmless for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
"""How a text begins that a spreadsheet may run as a formula (OWASP ASVS 1.2.10), or that our mark begins."""


def lines(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, for_spreadsheets: bool = False
) -> Iterator[str]:
    """The table, line by line, header first. None is an empty cell.

    Exact, a cell with a tab, a line break or a quote is quoted as in CSV. For spreadsheets a text
    that could be run as a formula gets a `'` in front; numbers never do.

    >>> list(lines(["a", "b"], [{"a": "=1+1", "b": -1.5}]))
    ['a\\tb\\n', '=1+1\\t-1.5\\n']
    >>> list(lines(["a", "b"], [{"a": "=1+1", "b": -1.5}], for_spreadsheets=True))
    ['a\\tb\\n', "'=1+1\\t-1.5\\n"]
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter="\t", lineterminator="\n")
    writer.writerow(columns)
    yield _taken(buffer)
    for row in rows:
        writer.writerow([_cell(row.get(column), for_spreadsheets) for column in columns])
        yield _taken(buffer)


def _cell(value: Any, for_spreadsheets: bool) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if for_spreadsheets and isinstance(value, str) and value.startswith(DANGEROUS):
        return "'" + value
    return value


def _taken(buffer: io.StringIO) -> str:
    line = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return line
