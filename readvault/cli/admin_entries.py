"""`readvault admin`: what maintainers do to released entries, and how they read originals."""

from __future__ import annotations

import typer

from readvault.cli.admin_office import accession_version, maintainer, open_office

ENTRY = typer.Argument(help="The accession version, for example LOC_000001Y.1.")
REASON = typer.Option(..., help="Why. It stays in the audit log for ever; of a withdrawal everybody reads it.")


def suppress(entry: str = ENTRY, reason: str = REASON) -> None:
    """Take a released version out of all lists; who has its accession can still read it."""
    _intervene("suppress", entry, reason)


def withdraw(entry: str = ENTRY, reason: str = REASON) -> None:
    """Put the reason in a released version's place: nobody reads its files any more."""
    _intervene("withdraw", entry, reason)


def restore(entry: str = ENTRY, reason: str = REASON) -> None:
    """Make a suppressed or withdrawn version public again."""
    _intervene("restore", entry, reason)


def open_originals(entry: str = ENTRY, reason: str = REASON) -> None:
    """Print URLs of an entry's original files, which live for minutes. Who opened them, and why, stays on record."""
    from readvault.services.release import originals

    opened = originals.open_originals(open_office(), maintainer(), accession_version(entry), reason)
    for file in opened:
        typer.echo("\t".join((file.category, file.name, str(file.size), file.url)))
    typer.echo(f"{len(opened)} files; the URLs live for minutes", err=True)


def _intervene(step: str, entry: str, reason: str) -> None:
    from readvault.domain.interventions import Step
    from readvault.services.release import interventions

    name = accession_version(entry)
    done = interventions.intervene(open_office(), maintainer(), name, Step(step), reason)
    typer.echo(f"{name} is {done.state} now")
