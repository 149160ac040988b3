"""Tab-separated tables: exact for machines, harmless for spreadsheets."""

from __future__ import annotations

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
    yield line(columns)
    for row in rows:
        yield line(_text(row.get(column), for_spreadsheets) for column in columns)


def line(cells: Iterable[str]) -> str:
    """One line of a table, with the line break that ends it.

    >>> line(["a", 'b"c', "d e"])
    'a\\t"b""c"\\td e\\n'
    """
    return "\t".join(_cell(cell) for cell in cells) + "\n"


def _cell(text: str) -> str:
    # Python 3.12's own writer leaves a lone carriage return unquoted, at which its reader ends the line.
    return '"' + text.replace('"', '""') + '"' if any(character in text for character in '\t"\r\n') else text


def _text(value: Any, for_spreadsheets: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if for_spreadsheets and isinstance(value, str) and value.startswith(DANGEROUS):
        return "'" + value
    return str(value)
