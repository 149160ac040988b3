"""`readvault admin audit` and `readvault admin who-read`: the trail, and whether it is whole."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from readvault.cli.admin_office import maintainer, open_office

EXIT_ALTERED = 1
EXIT_NOT_COMPARED = 2
audit_app = typer.Typer(help="The audit log.", no_args_is_help=True)


@audit_app.command("verify")
def verify() -> None:
    """Look over the audit log and the trail of reads; exit 1 and name the first row that was altered or is gone.

    The ends of the log that lie in the bucket must be rows of it; exit 2 when the bucket can't be asked.
    """
    from readvault.services import trail

    verdict = trail.verify(open_office())
    typer.echo(f"{verdict.rows} rows of the audit log and {verdict.reads} reads were looked at")
    if not verdict.whole:
        typer.echo(f"ALTERED: {verdict.fault}", err=True)
        raise typer.Exit(EXIT_ALTERED)
    if verdict.heads is None:
        typer.echo("all are as they were written; whether rows were cut off at the end is not known", err=True)
        typer.echo("NOT COMPARED: the bucket, which keeps the ends of the log, can't be asked", err=True)
        raise typer.Exit(EXIT_NOT_COMPARED)
    typer.echo(f"all are as they were written; {verdict.heads} ends of the log that lie in the bucket are among them")


def who_read(file: str = typer.Argument(help="A file ID, or accession.version/category/name.")) -> None:
    """List who got a URL of a file while it was not public: time, person, entry, purpose, reason."""
    from readvault.services import trail

    rows = trail.who_read(open_office(), maintainer(), file)
    for row in rows:
        at = datetime.fromtimestamp(row.at, UTC).isoformat(timespec="seconds")
        entry = f"{row.accession}.{row.version}"
        typer.echo("\t".join((at, row.actor, entry, row.category, row.purpose, _on_one_line(row.reason or ""))))
    typer.echo(f"{len(rows)} URLs were given out", err=True)


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
