"""`readvault admin pulls`: what is fetched from submitters' own S3."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from readvault.cli.admin_office import maintainer, open_office

pulls_app = typer.Typer(help="Files that are pulled from submitters' own S3.", no_args_is_help=True)


@pulls_app.command("list")
def show(over: bool = typer.Option(False, "--all", help="Also those that are over.")) -> None:
    """List pulls, the newest first: ID, group, who asked, when, state, bytes so far and in all."""
    from readvault.services.pulls import access

    house, count, last = open_office(), 0, None
    while page := access.all_pulls(house, maintainer(), over=over, after=last):
        for view in page:
            pull = view.pull
            asked = datetime.fromtimestamp(pull.asked_at, UTC).isoformat(timespec="seconds")
            far = f"{view.bytes_done}/{view.size}"
            typer.echo("\t".join((pull.id, str(pull.group_id), pull.asked_by, asked, pull.state, far)))
        count, last = count + len(page), page[-1].pull.id
    typer.echo(f"{count} pulls", err=True)


@pulls_app.command("cancel")
def cancel(
    pull_id: str = typer.Argument(help="The pull, as `readvault admin pulls list` tells it."),
    reason: str = typer.Option(..., help="Why; it stays in the audit log."),
) -> None:
    """Stop a pull and delete its credentials; what is pulled already stays."""
    from readvault.services.pulls import ending

    ending.cancel_any(open_office(), maintainer(), pull_id, reason)
    typer.echo(f"pull {pull_id} is cancelled")
