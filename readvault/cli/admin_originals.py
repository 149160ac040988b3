"""`readvault admin public-originals`: originals that two maintainers open to everybody, and one closes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from readvault.cli.admin_office import accession_version, maintainer
from readvault.cli.admin_screening import office_with_organisms

if TYPE_CHECKING:
    from readvault.domain.openings import State
    from readvault.services.release.opening import Opening

originals_app = typer.Typer(
    help="Originals for everybody: one maintainer asks, another confirms, either closes.", no_args_is_help=True
)
ENTRIES = typer.Argument(..., help="Accession versions, for example LOC_000001Y.1.")


@originals_app.command("candidates")
def candidates(
    organism: str = typer.Option(..., help="The organism."),
    group: int | None = typer.Option(None, help="Only of this group."),
) -> None:
    """List released versions whose originals could be opened: a complete screen of all their reads found none human."""
    from readvault.services.release import opening

    house, after = office_with_organisms(), None
    while True:
        found, after = opening.candidates(house, maintainer(), organism, group_id=group, after=after)
        for name in found:
            typer.echo(str(name))
        if after is None:
            return


@originals_app.command("request")
def request(
    entries: list[str] = ENTRIES, reason: str = typer.Option(..., help="Why. It stays in the audit log for ever.")
) -> None:
    """Ask another maintainer to let everybody read the originals of released versions. Nothing is open yet."""
    from readvault.services.release import opening

    names = [accession_version(each) for each in entries]
    _tell(opening.request(office_with_organisms(), maintainer(), names, reason))
    typer.echo(f"another maintainer confirms within 7 days:\n  {_command('confirm', entries)}", err=True)


@originals_app.command("confirm")
def confirm(entries: list[str] = ENTRIES) -> None:
    """Say yes to what somebody else asked for: everybody may read these originals."""
    from readvault.services.release import opening

    names = [accession_version(each) for each in entries]
    _tell(opening.confirm(office_with_organisms(), maintainer(), names))


@originals_app.command("close")
def close(
    entries: list[str] = ENTRIES, reason: str = typer.Option(..., help="Why. Everybody who asks for them is told so.")
) -> None:
    """Close originals again, at once, or refuse a request."""
    from readvault.services.release import opening

    names = [accession_version(each) for each in entries]
    _tell(opening.close(office_with_organisms(), maintainer(), names, reason))


@originals_app.command("list")
def show(
    state: str = typer.Option(None, help="Only those that are requested, open or closed."),
) -> None:
    """Whose originals were ever asked for: entry, state, files, since, by whom, obstacle, reason."""
    from readvault.services.release import opening

    house, last = office_with_organisms(), None
    while page := opening.page(house, maintainer(), state=_state(state), before=last):
        _tell(page)
        last = page[-1].id


def _state(said: str | None) -> State | None:
    from readvault.domain.openings import State

    try:
        return None if said is None else State(said)
    except ValueError:
        raise typer.BadParameter(f"{said!r} is none of {', '.join(State)}") from None


def _tell(openings: Sequence[Opening]) -> None:
    for each in openings:
        since = datetime.fromtimestamp(each.at, UTC).isoformat(timespec="seconds")
        line = (str(each.name), each.state.value, str(each.files), since, each.actor, each.obstacle or "-")
        typer.echo("\t".join((*line, " ".join(each.reason.split()))))


def _command(verb: str, entries: Sequence[str]) -> str:
    return f"readvault admin public-originals {verb} {' '.join(entries)}"
