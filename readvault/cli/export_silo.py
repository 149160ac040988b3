"""`readvault export-silo`: the released aligned reads of an organism as one set that SILO loads."""

from __future__ import annotations

from pathlib import Path

import typer


def export_silo(
    organism: str = typer.Option(..., help="The organism's name."),
    out: Path | None = typer.Option(None, help="Also write the files into this folder, each checked."),
    anew: bool = typer.Option(False, "--anew", help="Make the lines of all samples again."),
) -> None:
    """Export all released reads: only new and changed samples are read, and nothing is done when there are none.

    The files lie in the bucket, and everybody finds them with GET /{organism}/get-silo-reads.
    """
    from readvault.cli.admin_screening import office_with_organisms
    from readvault.services.exports import reading
    from readvault.services.exports.form import ExportSilo
    from readvault.worker.background import export_silo as export

    house = office_with_organisms()
    done = export(house, ExportSilo(organism=organism, anew=anew), lambda: None)[organism]
    typer.echo(f"{organism}: {done.told}", err=True)
    for name, count in done.figures.items():
        typer.echo(f"{name}\t{count}")
    if out is not None and done.export_id is not None:
        for path in reading.write(house, None, organism, done.export_id, out):
            typer.echo(f"# {path}", err=True)
