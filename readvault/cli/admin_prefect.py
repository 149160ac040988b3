"""`readvault admin prefect-setup`: the work pool, its deployments and the alarms in Prefect."""

from __future__ import annotations

import typer

from readvault.cli.admin_office import settings_as_it_runs


def prefect_setup(
    notify: str | None = typer.Option(
        None, help="Whom alarms tell: a block of Prefect's as type/name, for example slack-webhook/maintainers."
    ),
    stuck_hours: float = typer.Option(6, min=0.1, max=168, help="A run that takes longer is an alarm."),
    standstill_minutes: float = typer.Option(
        30, min=1, max=1440, help="It is an alarm when runs are late and none starts for so long."
    ),
    pool: list[str] = typer.Option(
        [],
        help="Another work pool whose runs alarms watch, beside those of the settings; may be repeated.",
    ),
    uninstall: bool = typer.Option(False, "--uninstall", help="Remove the alarms; pool and deployments stay."),
) -> None:
    """Put the work pool, the deployments and the alarms into Prefect. Doing it again changes nothing."""
    from readvault.adapters import prefect_setup as prefect

    settings = settings_as_it_runs()
    if uninstall:
        done = prefect.remove_alarms(settings)
    else:
        limits = {"stuck_hours": stuck_hours, "standstill_minutes": standstill_minutes}
        done = prefect.set_up(settings, notify=notify, other_pools=pool, **limits)
    for name, what in done.items():
        typer.echo(f"{name}: {what}")
    if not uninstall and notify is None:
        typer.echo("No --notify: new alarms show in Prefect's UI and tell nobody.", err=True)
