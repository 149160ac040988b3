"""`readvault collect-garbage`: what nothing refers to leaves the bucket."""

from __future__ import annotations

import typer


def collect_garbage(
    delete: bool = typer.Option(
        False, "--delete", help="Condemn and delete. Without it everything is only counted, and nothing written."
    ),
) -> None:
    """Count what nothing refers to; with --delete condemn it, and delete what was condemned long enough ago."""
    from readvault.cli.admin_office import open_office
    from readvault.services.storage.garbage.collection import collect

    done = collect(open_office(), dry_run=not delete)
    for name, count in done.counts().items():
        typer.echo(f"{name}\t{count}")
    if not delete:
        typer.echo("# only counted: --delete condemns it, and deletes it at a later call", err=True)
