"""Conditions on pairs of accession and version that both databases find by an index."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, and_, tuple_
from sqlmodel import SQLModel, col

from readvault.domain.identifiers import AccessionVersion


def among(table: type[SQLModel], names: Iterable[AccessionVersion | tuple[str, int]]) -> ColumnElement[bool]:
    """The condition that a row of `table` is about one of these accession versions.

    The accessions are listed beside the pairs, because SQLite reads the whole table for pairs alone.
    Give a few hundred at a time: a statement may have only so many parameters.
    """
    columns: Any = table
    pairs = [(each.accession, each.version) if isinstance(each, AccessionVersion) else each for each in names]
    return and_(
        col(columns.accession).in_(sorted({accession for accession, _ in pairs})),
        tuple_(col(columns.accession), col(columns.version)).in_(pairs),
    )
