"""`readvault admin summary`: a day of the instance in figures."""

from __future__ import annotations

import json
from datetime import datetime

import typer

from readvault.cli.admin_office import open_office


def summary(
    day: datetime | None = typer.Option(None, "--date", formats=["%Y-%m-%d"], help="Which day (UTC); else yesterday."),
    as_json: bool = typer.Option(False, "--json", help="For programs: all figures, sizes in bytes."),
) -> None:
    """Tell what came on a day, what was made of it, what failed, and what waits now. Needs no Prefect."""
    from readvault.services.housekeeping.day import in_figures
    from readvault.services.housekeeping.day_as_text import markdown

    told = in_figures(open_office(), None if day is None else day.date())
    typer.echo(json.dumps(told.as_json(), indent=2) if as_json else markdown(told), nl=as_json)
