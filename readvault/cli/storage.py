"""`readvault fsck` and `readvault verify-integrity`: is everything there, and is it what was sealed?"""

from __future__ import annotations

from collections import Counter

import typer

EXIT_DAMAGE = 1


def fsck(
    after: str = typer.Option("", help="Go on beyond this key."),
    strays_older_than_hours: float = typer.Option(
        24, help="Name objects without a row only when they are older: steps under way make such objects too."
    ),
) -> None:
    """Compare database and bucket both ways and name every difference, one a line; changes nothing.

    Exit 1 when something is missing or has another size, or the database is older than the bucket.
    """
    from readvault.cli.admin_office import open_office
    from readvault.services.storage.garbage import lineage
    from readvault.services.storage.integrity.fsck import Difference
    from readvault.services.storage.integrity.fsck import fsck as differences

    found: Counter[str] = Counter()
    lost = False
    typer.echo("difference\tkey\tversionId\tsize\tageHours")
    house = open_office()
    for finding in differences(house, after=after):
        if finding.difference is Difference.STRAY and finding.age < strays_older_than_hours * 3600:
            continue
        found[finding.difference.value] += 1
        lost = lost or finding.difference.loses_bytes
        age = f"{finding.age / 3600:.1f}" if finding.age else ""
        typer.echo(f"{finding.difference}\t{finding.key}\t{finding.version_id or ''}\t{finding.size}\t{age}")
    told = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
    typer.echo(f"# {told or 'database and bucket agree'}", err=True)
    head = lineage.unknown_head(house)
    if head is not None:
        typer.echo(f"# the bucket knows row {head.id} of an audit log that this database does not have", err=True)
    if lost or head is not None:
        raise typer.Exit(EXIT_DAMAGE)


def verify_integrity(
    days: float | None = typer.Option(None, help="Read again what was not read in so many days.", show_default="90"),
    megabytes_per_second: float | None = typer.Option(None, help="Read no faster than this, on the average."),
    minutes: float | None = typer.Option(None, help="Stop after so long; the next call goes on."),
    repair: bool = typer.Option(True, help="Put damaged bytes back from wherever they still are."),
) -> None:
    """Compare the bucket with the database, read and hash what is stored, repair what is damaged.

    Exit 1 when something is damaged and not restored.
    """
    from readvault import bootstrap
    from readvault.adapters.inline_orchestrator import NoOrchestrator
    from readvault.services.entries.damage import REFERENCE_LOST, called
    from readvault.services.storage.integrity import verification

    settings = bootstrap.settings()
    house = bootstrap.house(settings, NoOrchestrator())
    done = verification.verify(
        house,
        days=settings.storage.verify_every_days if days is None else days,
        bytes_per_second=None if megabytes_per_second is None else megabytes_per_second * 10**6,
        budget_seconds=None if minutes is None else minutes * 60,
        repairs=repair,
        survey_every=0,
    )
    typer.echo(f"{done.checked} objects with {done.bytes} bytes were read; {done.mended} that were damaged are whole")
    typer.echo(f"{done.repaired} repaired, {done.uncovered} markers and versions removed that lay over pinned ones")
    if done.references_lost or done.unreachable:
        lost = f"{done.references_lost} are not there any more, {done.unreachable} can't be reached now"
        typer.echo(f"files that stay in buckets of their groups: {lost}")
    if done.copied or done.copies_checked:
        typer.echo(f"second bucket: {done.copies_checked} copies read, {done.copied} made")
    if not done.finished:
        typer.echo("The time was up: call it again to go on.")
    damaged = verification.damaged(house)
    for row in damaged:
        what = "lost" if row.damage == REFERENCE_LOST else "damaged"
        typer.echo(f"{what}\t{row.key}\t{row.damage}\t{row.unrepaired or ''}\t{called(row.key)}")
    # What a group has lost of its own is no damage of ours: nobody here could mend it.
    if any(row.damage != REFERENCE_LOST for row in damaged) or done.held_by_locks:
        raise typer.Exit(EXIT_DAMAGE)
