"""`readvault admin`: released reads that a newer host index is looking at, and reads that are withheld."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from readvault.cli.admin_entries import ENTRY
from readvault.cli.admin_office import accession_version, maintainer, open_office

if TYPE_CHECKING:
    from readvault.services.house import House

RESULT = typer.Option(..., "--pipeline-version", min=1, help="Of which pipeline version the result is.")
REASON = typer.Option(..., help="Why. Everybody who asks for withheld reads is told so.")


def screenings() -> None:
    """How far released reads are screened: organism, index, results, screened, with hits, reads that hit, jobs."""
    from readvault.services.screening.progress import progress

    for each in progress(office_with_organisms(), maintainer()):
        now = "now" if each.is_current else "before"
        walked = "-" if each.walked_at is None else _when(each.walked_at)
        counts = (each.results, each.screened, each.by_processing, each.with_hits, each.hits)
        jobs = (each.queued, each.needing_attention)
        typer.echo("\t".join((each.organism, each.index_sha256, now, *map(str, counts + jobs), walked)))
    typer.echo(
        "organism, index, whether it is pinned, results with reads, screened, of these when they were processed,"
        " with hits, reads that hit, jobs queued, jobs needing attention, last look at all of them",
        err=True,
    )


def withheld_reads(
    undecided: bool = typer.Option(False, "--undecided", help="Only what waits for a person."),
) -> None:
    """List results whose reads are withheld: entry, pipeline version, hits of reads, since, by whom, why."""
    from readvault.services.screening import withholding

    house, count, last = open_office(), 0, None
    while page := withholding.page(house, maintainer(), before=last, undecided=undecided):
        for each in page:
            found = f"{each.hits} of {each.reads}"
            stands = "stands" if each.is_current else "replaced"
            line = (str(each.name), str(each.pipeline_version), stands, found, _when(each.at), each.actor)
            typer.echo("\t".join((*line, " ".join(each.reason.split()))))
        count, last = count + len(page), page[-1].id
    typer.echo(f"the reads of {count} results are withheld", err=True)


def withhold_reads(entry: str = ENTRY, pipeline_version: int = RESULT, reason: str = REASON) -> None:
    """Let nobody but the group have the reads of a published result; of withheld ones: that they rightly are."""
    from readvault.services.screening import withholding

    name = accession_version(entry)
    withholding.withhold(open_office(), maintainer(), name, pipeline_version, reason)
    typer.echo(f"the reads of {name} by pipeline version {pipeline_version} are withheld")


def give_reads_again(entry: str = ENTRY, pipeline_version: int = RESULT, reason: str = REASON) -> None:
    """Let everybody have the reads of a result again that were withheld."""
    from readvault.services.screening import withholding

    name = accession_version(entry)
    withholding.give_again(open_office(), maintainer(), name, pipeline_version, reason)
    typer.echo(f"everybody may have the reads of {name} by pipeline version {pipeline_version} again")


def office_with_organisms() -> House:
    """The office, for what depends on the organisms' files."""
    from readvault import bootstrap

    office = open_office()
    return replace(office, organisms=bootstrap.organisms(office.settings))


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
