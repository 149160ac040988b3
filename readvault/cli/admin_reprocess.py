"""`readvault admin reprocess`: results of a newer pipeline version, asked for, confirmed, decided and taken back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from readvault.cli.admin_office import accession_version, maintainer, open_office

if TYPE_CHECKING:
    from readvault.services.reprocessing.choices import Choice
    from readvault.services.reprocessing.planning import Plan

reprocess_app = typer.Typer(help="Results of a newer pipeline version, and the way back.", no_args_is_help=True)
NUMBER = typer.Argument(help="The order, as `request` and `list` name it.")
COMPARED = typer.Argument(help="The result, as `waiting` lists it.")
WHY = typer.Option(..., "--reason", help="Why; it stays in the audit log.")


@reprocess_app.command("request")
def request(
    organism: str = typer.Argument(help="The organism; its file says which pipeline version is the new one."),
    reason: str = typer.Option("", help="Why; needed with --no-dry-run."),
    dry_run: bool = typer.Option(True, help="Only count entries, bytes and cost."),
    entry: list[str] = typer.Option([], help="Only this accession version; several times."),
    group: list[int] = typer.Option([], help="Only entries of this group; several times."),
    released: str = typer.Option("any", help="any, released or unreleased."),
    versions: str = typer.Option("all", help="all versions of an accession, or latest."),
    result: list[str] = typer.Option([], help="Only where processing ended so; several times."),
    platform: list[str] = typer.Option([], help="Only reads of this platform; several times."),
    submitted_from: str | None = typer.Option(None, help="Submitted on this day (UTC) or later."),
    submitted_until: str | None = typer.Option(None, help="Submitted on this day (UTC) or earlier."),
    processed_from: str | None = typer.Option(None, help="Processed on this day (UTC) or later."),
    processed_until: str | None = typer.Option(None, help="Processed on this day (UTC) or earlier."),
    tool: str | None = typer.Option(None, help="Made with this tool, as manifests name it."),
    tool_version: str | None = typer.Option(None, help="With this version of the tool."),
    per_hour: int | None = typer.Option(None, min=1, help="At most so many entries an hour."),
) -> None:
    """Count what would be processed anew, or ask for it. Nothing begins before `confirm`."""
    from readvault.services.reprocessing import orders, planning
    from readvault.services.reprocessing.choices import Choice

    choice: Choice = Choice.of_options(
        accession_versions=entry, group_ids=group, released=released, versions=versions, results=result,
        platforms=platform, submitted_from=submitted_from, submitted_until=submitted_until,
        processed_from=processed_from, processed_until=processed_until, tool=tool, tool_version=tool_version,
    )  # fmt: skip
    house = open_office()
    if dry_run:
        _tell(planning.plan(house, maintainer(), organism, choice))
        return
    row, plan = orders.request(house, maintainer(), organism, choice, reason, per_hour=per_hour)
    _tell(plan)
    typer.echo(f"reprocessing {row.id} waits:\n  readvault admin reprocess confirm {row.id}")


@reprocess_app.command("list")
def show() -> None:
    """The orders, newest first: ID, state, organism, version, entries, begun, open, results, asked by, reason."""
    from readvault.services.reprocessing import orders

    house, before = open_office(), None
    while page := orders.page(house, maintainer(), before=before):
        for order in page:
            row = order.row
            results = ",".join(f"{name}={count}" for name, count in sorted(order.results.items())) or "-"
            state = row.state if row.rolled_back_at is None else f"{row.state}, rolled back"
            columns = (row.id, state, row.organism, row.pipeline_version, row.planned_entries, row.queued,
                       sum(order.jobs.values()), results, row.requested_by, " ".join(row.reason.split()))  # fmt: skip
            typer.echo("\t".join(map(str, columns)))
        before = page[-1].row.id


@reprocess_app.command("confirm")
def confirm(number: int = NUMBER) -> None:
    """Let an order begin, in the background and behind new submissions."""
    from readvault.services.reprocessing import orders

    row = orders.confirm(open_office(), maintainer(), number)
    typer.echo(f"reprocessing {number} of {row.planned_entries} entries is running")


@reprocess_app.command("pause")
def pause(number: int = NUMBER) -> None:
    """Begin nothing more of an order, not even what was queued; what is under way ends."""
    from readvault.services.reprocessing import orders

    orders.pause(open_office(), maintainer(), number)
    typer.echo(f"reprocessing {number} is paused")


@reprocess_app.command("resume")
def resume(number: int = NUMBER) -> None:
    """Go on with a paused order."""
    from readvault.services.reprocessing import orders

    orders.resume(open_office(), maintainer(), number)
    typer.echo(f"reprocessing {number} is running")


@reprocess_app.command("cancel")
def cancel(number: int = NUMBER) -> None:
    """End an order for good; results that it made stay as they are."""
    from readvault.services.reprocessing import orders

    orders.cancel(open_office(), maintainer(), number)
    typer.echo(f"reprocessing {number} is cancelled")


@reprocess_app.command("roll-back")
def roll_back(
    what: str = typer.Argument(help="An order's number, or an accession version."),
    reason: str = WHY,
    pipeline_version: int | None = typer.Option(None, min=1, help="Of one entry: back to this published version."),
) -> None:
    """Let older results stand again: of one entry, or wherever an order's results took their place."""
    from readvault.services.reprocessing import decisions, going_back

    house = open_office()
    if what.isdecimal():
        decisions.roll_back_order(house, maintainer(), int(what), reason)
        typer.echo(f"reprocessing {what}: {going_back.carry_on(house)} entries went back")
        return
    version = decisions.roll_back(
        house, maintainer(), accession_version(what), reason, pipeline_version=pipeline_version
    )
    typer.echo(f"{what}: the result of pipeline version {version} stands")


@reprocess_app.command("waiting")
def waiting() -> None:
    """Results that wait for a decision: ID, entry, released or not, pipeline version, since when, what is worse."""
    from readvault.services.reprocessing import decisions

    house, after = open_office(), None
    while page := decisions.waiting(house, maintainer(), after=after):
        for each in page:
            row = each.row
            worse = "; ".join(f"{found['figure']}: {found['old']} -> {found['new']}" for found in row.findings) or "-"
            since = datetime.fromtimestamp(row.compared_at, UTC).isoformat(timespec="seconds")
            public = "released" if each.released else "unreleased"
            entry = f"{row.accession}.{row.version}"
            typer.echo("\t".join((str(row.id), entry, public, str(each.pipeline_version), since, worse)))
        after = page[-1].row.id


@reprocess_app.command("accept")
def accept(compared: int = COMPARED, reason: str = WHY) -> None:
    """Let a waiting result stand for its entry; of a released one for everybody, at once."""
    from readvault.services.reprocessing import decisions

    row = decisions.accept(open_office(), maintainer(), compared, reason)
    typer.echo(f"{row.accession}.{row.version}: the newer result stands")


@reprocess_app.command("keep")
def keep(compared: int = COMPARED, reason: str = WHY) -> None:
    """Let the older result stand for good."""
    from readvault.services.reprocessing import decisions

    row = decisions.keep(open_office(), maintainer(), compared, reason)
    typer.echo(f"{row.accession}.{row.version}: the older result stands")


def _tell(plan: Plan) -> None:
    for name, count in plan.counts().items():
        typer.echo(f"{name}: {count}")
