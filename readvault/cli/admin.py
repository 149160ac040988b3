"""`readvault admin`: what a maintainer does beside the API."""

from __future__ import annotations

import typer

admin_app = typer.Typer(help="Accounts, groups and jobs.", no_args_is_help=True)


@admin_app.command("add-user")
def add_user(
    name: str,
    password: str = typer.Option(..., prompt=True, hide_input=True, help="Asked for when it is not given."),
    role: list[str] = typer.Option([], help="super_user, preprocessing_pipeline or external_metadata_updater."),
) -> None:
    """Add a login to the built-in issuer."""
    from readvault import bootstrap
    from readvault.services.people import accounts

    accounts.create_account(bootstrap.house(bootstrap.settings()), name, password, role)
    typer.echo(f"user {name} can log in now")


@admin_app.command("retry")
def retry(job_id: str) -> None:
    """Queue a job that needs attention once more."""
    from readvault import bootstrap
    from readvault.domain.actor import MAINTAINER_ROLE, Actor
    from readvault.services.processing import jobs

    jobs.retry(bootstrap.house(bootstrap.settings()), Actor("admin", frozenset({MAINTAINER_ROLE})), job_id)
    typer.echo(f"job {job_id} is queued again")
