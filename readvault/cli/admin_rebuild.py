"""`readvault admin rebuild`: a lost database comes back from the bucket."""

from __future__ import annotations

import typer

from readvault.cli.admin_office import maintainer, open_office

EXIT_INCOMPLETE = 1


def rebuild(
    second_bucket: bool = typer.Option(
        False, "--second-bucket", help="Read the records from the second bucket: those of the first are lost too."
    ),
) -> None:
    """Fill an empty database from the records in the bucket. Broken off, it goes on when it is called again.

    Exit 1, and a line for each, when anything could not be restored. Stop everything else first.
    """
    from dataclasses import replace

    from readvault import bootstrap
    from readvault.db.engine import migrate
    from readvault.services.storage.rebuilding import rebuild as rebuilding

    office = open_office()
    if second_bucket and office.second_store is None:
        raise typer.BadParameter("There is no second bucket in the settings.")
    migrate(office.settings.database)
    house = replace(office, organisms=bootstrap.organisms(office.settings))
    source = house.second_store if second_bucket else None
    counts = rebuilding.rebuild(house, maintainer(), source=source, say=typer.echo)
    for what, count in sorted(counts.items()):
        typer.echo(f"{count}\t{what}", err=True)
    if counts[rebuilding.LOST]:
        raise typer.Exit(EXIT_INCOMPLETE)


def take_over_bucket() -> None:
    """After a restored backup: let the database be the bucket's from now on; what came after the backup is given up.

    New accessions go on beyond all that the bucket knows. Until then garbage is not collected.
    """
    from readvault.services.storage.garbage import lineage
    from readvault.services.storage.rebuilding import records

    office = open_office()
    taken = lineage.take_over(office, maintainer())
    records.export(office)
    known = "nothing" if taken.unknown is None else f"row {taken.unknown.id} of the audit log and what followed it"
    typer.echo(f"given up: {known}; new accessions have numbers above {taken.last_number}")
