"""`readvault admin shred`: erase accession versions for good, by two people, with a proof."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import typer

from readvault.cli.admin_office import accession_version, maintainer, open_office

if TYPE_CHECKING:
    from readvault.db.tables import Erasure
    from readvault.services.house import House
    from readvault.services.storage.erasing.shredding import Unlocker

shred_app = typer.Typer(
    help="Erase accession versions for good: two people, a tombstone, a proof.", no_args_is_help=True
)
OWN_KEYS = {
    "bucket": ("READVAULT_MAINTAINER_S3_ACCESS_KEY", "READVAULT_MAINTAINER_S3_SECRET_KEY"),
    "second": ("READVAULT_MAINTAINER_S3_SECOND_ACCESS_KEY", "READVAULT_MAINTAINER_S3_SECOND_SECRET_KEY"),
}
"""Where a maintainer puts the keys that lift a GOVERNANCE lock, for one command. No service reads these."""
NUMBER = typer.Argument(help="The erasure, as `request` and `list` name it.")


@shred_app.command("request")
def request(
    entries: list[str] = typer.Argument(..., help="Accession versions, for example LOC_000001Y.1."),
    reason: str = typer.Option(..., help="Why. Everybody who asks for the versions reads it."),
) -> None:
    """List what would go, and ask another maintainer to confirm it. Nothing is touched."""
    from readvault.services.storage.erasing import erasure

    asked, plan = erasure.request(open_office(), maintainer(), map(accession_version, entries), reason)
    for line in plan.lines:
        typer.echo("\t".join((line.place, plan.kind_of(line).value, str(line.size), line.key, line.version_id)))
    typer.echo(
        f"erasure {asked.id}: {asked.objects} objects, {asked.size} bytes, and {plan.documents} documents\n"
        f"another maintainer confirms within 7 days:\n"
        f"  readvault admin shred confirm {asked.id} --objects {asked.objects} --code {asked.code}"
    )


@shred_app.command("list")
def show() -> None:
    """The erasures, newest first: ID, state, versions, who asked, who confirmed, what it waits for, reason."""
    from readvault.services.storage.erasing import erasure

    house, before = open_office(), None
    while page := erasure.page(house, maintainer(), before=before):
        for row, state in page:
            named = ",".join(row.accession_versions)
            people = (row.requested_by, row.confirmed_by or "-")
            waits = "-" if row.waits_for is None else " ".join(row.waits_for.split())
            typer.echo("\t".join((str(row.id), state.value, named, *people, waits, " ".join(row.reason.split()))))
        before = page[-1][0].id


@shred_app.command("confirm")
def confirm(
    number: int = NUMBER,
    objects: int = typer.Option(..., help="How many objects the request named."),
    code: str = typer.Option(..., help="The code of the list that the request named."),
) -> None:
    """Say yes to what somebody else asked for: the versions are gone for everybody, and their bytes go."""
    from readvault.services.storage.erasing import erasure

    house = open_office()
    erasure.confirm(house, maintainer(), number, objects=objects, code=code)
    _carry_on(house, number)


@shred_app.command("finish")
def finish(number: int = NUMBER) -> None:
    """Go on with a confirmed erasure that waits, with your own S3 keys if a lock holds something."""
    from readvault.services.storage.erasing import erasure

    house = open_office()
    erasure.find(house, maintainer(), number)
    _carry_on(house, number)


@shred_app.command("prove")
def prove(number: int = NUMBER) -> None:
    """Print the proof, see that it is as it was written, and search the buckets once more. Exit 1: not so."""
    from readvault.services.storage.erasing import erasure, erasure_proof, shredding

    house = open_office()
    row, state = erasure.find(house, maintainer(), number)
    if row.proof is None:
        typer.echo(f"erasure {number} is {state.value}: there is no proof yet", err=True)
        raise typer.Exit(1)
    typer.echo(json.dumps(row.proof, indent=2, sort_keys=True))
    left = shredding.left_of(house, number)
    whole = erasure_proof.is_as_written(row.proof)
    typer.echo(f"the proof is {'as it was written' if whole else 'NOT as it was written'}", err=True)
    typer.echo(f"a search now: {len(left)} of its versions are there", err=True)
    if left or not whole:
        raise typer.Exit(1)


def _carry_on(house: House, number: int) -> None:
    from readvault.services.storage.erasing import shredding

    done = shredding.carry_on(house, number, _own_keys(house))
    _tell(done)
    if done.finished_at is None:
        raise typer.Exit(1)


def _tell(row: Erasure) -> None:
    if row.proof is None:
        typer.echo(f"erasure {row.id}: nobody reads the versions any more; their bytes wait for {row.waits_for}")
        typer.echo(f"  readvault admin shred finish {row.id}", err=True)
        return
    typer.echo(f"erasure {row.id}: {len(row.proof['objects'])} versions are gone, a search found none left")
    typer.echo(f"  proof {row.proof['sha256']}")


def _own_keys(house: House) -> dict[str, Unlocker]:
    """The stores with the maintainer's own keys, from the environment of this command alone."""
    from pydantic import SecretStr

    from readvault import bootstrap
    from readvault.config import S3Credentials

    keys = {
        place: S3Credentials(access_key=os.environ[access], secret_key=SecretStr(os.environ[secret]))
        for place, (access, secret) in OWN_KEYS.items()
        if os.environ.get(access) and os.environ.get(secret)
    }
    return dict(bootstrap.maintainer_stores(house.settings, keys))
