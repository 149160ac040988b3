"""`readvault query`: mutations over time and place from an exported set of aligned reads."""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from readvault.query.exported import ExportedSet
    from readvault.query.groups import Grouping
    from readvault.query.mutations import Mutation


class By(StrEnum):
    """The length of a period."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Form(StrEnum):
    """How the table is written."""

    TSV = "tsv"
    CSV = "csv"
    JSON = "json"


class Picture(StrEnum):
    """How the picture is drawn."""

    AUTO = "auto"
    LINES = "lines"
    HEATMAP = "heatmap"


DAY = ["%Y-%m-%d"]


def query(
    exported: Path = typer.Argument(..., metavar="SET", help="The export's folder, or its reads.ndjson.zst."),
    mutation: list[str] = typer.Option(
        [], "--mutation", "-m", help="C241T, 21765-, S:N501Y, ins_22204:GAG; repeat it."
    ),
    min_proportion: float | None = typer.Option(
        None, min=0, max=1, help="Find the mutations that reach this share of the reads in a sample."
    ),
    min_coverage: int = typer.Option(
        10, min=1, help="With --min-proportion: only where so many reads of the sample are."
    ),
    amino_acids: bool = typer.Option(False, "--amino-acids", help="With --min-proportion: in genes, not in segments."),
    by: By = typer.Option(By.WEEK, help="The length of a period; weeks begin on Mondays."),
    date: str | None = typer.Option(None, help="The column with the dates.", show_default="samplingDate or date"),
    place: str | None = typer.Option(
        None, help="The column with the places; `none` puts all together.", show_default="locationName or site"
    ),
    since: datetime | None = typer.Option(None, "--from", formats=DAY, help="Only reads of this day and later ones."),
    until: datetime | None = typer.Option(None, "--to", formats=DAY, help="Only reads of this day and earlier ones."),
    where: list[str] = typer.Option([], help="Only reads whose column has a value: column=value; repeat it."),
    form: Form = typer.Option(Form.TSV, "--format", help="How the table is written."),
    out: Path | None = typer.Option(None, help="Write the table here, not to the terminal."),
    plot: Path | None = typer.Option(None, help="Also draw it: a .png, .svg or .pdf."),
    plot_kind: Picture = typer.Option(Picture.AUTO, help="What is drawn."),
) -> None:
    """Count mutations over time and place: a table, and a picture of it.

    Where no read covers a position nothing is known: the proportion is empty (in JSON null), never 0.
    """
    try:
        from readvault import query as asked
        from readvault.query import counting, groups, table
        from readvault.query import exported as sets
    except ModuleNotFoundError as missing:
        if missing.name is not None and missing.name.startswith("readvault"):
            raise
        sys.exit(f"readvault: this command needs the extra `query` (pip install 'readvault[query]'): {missing}")
    try:
        found = sets.open_set(exported)
        grouping = groups.Grouping(
            period=groups.Period(by.value),
            date_column=groups.date_column(found, date),
            place_column=groups.place_column(found, place),
            first=since.date() if since else None,
            last=until.date() if until else None,
            where=tuple(_condition(each, found) for each in where),
        )
        wanted = _wanted(found, grouping, mutation, min_proportion, min_coverage, amino_acids=amino_acids)
        counts = counting.count(found, wanted, grouping)
        listed = list(table.lines(counts, grouping))
        text = table.text_of(listed, form.value)
        if plot is not None:
            from readvault.query.plot import plot as draw

            draw(listed, plot, kind=plot_kind.value)
    except asked.QueryError as fault:
        sys.exit(f"readvault: {fault}")
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
    left = f", {grouping.undated} without a date left out" if grouping.undated else ""
    typer.echo(f"# {len(wanted)} mutations in {counts.reads} reads of {len(grouping.groups)} groups{left}", err=True)


def _wanted(
    found: ExportedSet, grouping: Grouping, names: list[str], min_proportion: float | None, min_coverage: int,
    *, amino_acids: bool,
) -> list[Mutation]:  # fmt: skip
    from readvault.query import QueryError
    from readvault.query.counting import discover
    from readvault.query.mutations import parse

    wanted = [parse(name, found) for name in names]
    if min_proportion is None:
        if not wanted:
            raise QueryError(
                "name a mutation (--mutation), or say from which share on they are found (--min-proportion)"
            )
        return list(dict.fromkeys(wanted))
    others = discover(
        found, grouping, min_proportion=min_proportion, min_coverage=min_coverage, amino_acids=amino_acids
    )
    grouping.undated = 0
    return list(dict.fromkeys([*wanted, *others]))


def _condition(text: str, found: ExportedSet) -> tuple[str, str]:
    from readvault.query import QueryError

    column, equals, value = text.partition("=")
    if not equals or column not in found.columns:
        raise QueryError(f"--where {text}: column=value, with a column of {', '.join(found.columns)}")
    return column, value
