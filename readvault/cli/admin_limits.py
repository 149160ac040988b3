"""`readvault admin limits`: how much groups and users may upload."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from readvault.cli.admin_office import maintainer as office_maintainer
from readvault.cli.admin_office import open_office

if TYPE_CHECKING:
    from readvault.services.uploads.limits import Override, Use

limits_app = typer.Typer(help="How much groups and users may upload.", no_args_is_help=True)


@limits_app.command("show")
def show(scope: str = typer.Argument("", help="group:<id> or user:<name>; without it, all that differ.")) -> None:
    """Tell limits and what is used of them."""
    from readvault.services.uploads import limits

    house, maintainer = open_office(), office_maintainer()
    if scope:
        _tell(*limits.limits_of_scope(house, maintainer, scope))
        return
    for name, value in house.settings.limits.model_dump().items():
        typer.echo(f"{name}: {value}")
    after = ""
    while page := limits.overview(house, maintainer, after).overrides:
        for override, use in page:
            _tell(override, use)
        after = page[-1][0].scope


@limits_app.command("set")
def change(
    scope: str = typer.Argument(..., help="group:<id> or user:<name>"),
    reason: str = typer.Option(..., help="Why; it stays in the audit log."),
    bytes_total: str | None = typer.Option(None, help="Bytes in all, for example '20 TB'."),
    bytes_per_window: str | None = typer.Option(None, help="Bytes in a time window."),
    open_files: int | None = typer.Option(None, help="Files that are requested and not submitted yet."),
) -> None:
    """Give a group or a user other limits; without any, the instance's again."""
    from readvault.services.uploads import limits

    house, maintainer = open_office(), office_maintainer()
    _tell(
        *limits.set_limits(
            house,
            maintainer,
            scope,
            reason=reason,
            bytes_total=_size(bytes_total),
            bytes_per_window=_size(bytes_per_window),
            open_files=open_files,
        )
    )


def _size(text: str | None) -> int | None:
    from pydantic import TypeAdapter, ValidationError

    from readvault.domain.organism import Bytes

    if text is None:
        return None
    try:
        return int(TypeAdapter(Bytes).validate_python(text))
    except ValidationError:
        raise typer.BadParameter(f"{text!r} is no size such as '20 TB'") from None


def _tell(override: Override | None, use: Use) -> None:
    allowed = use.allowed
    used = use.sealed_bytes + use.reserved_bytes
    typer.echo(f"{use.scope}: {used} of {allowed.bytes_total} bytes ({use.reserved_bytes} of them reserved);")
    typer.echo(f"  {use.window_bytes} of {allowed.bytes_per_window} bytes in {allowed.window_hours:g} hours;")
    typer.echo(f"  {use.open_files} of {allowed.open_files} files requested and not submitted yet")
    if override is not None:
        typer.echo(f"  set by {override.set_by}: {override.reason}")
