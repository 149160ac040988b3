"""`readvault admin import-config`: organism files from a Loculus configuration."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class ExternalMode(StrEnum):
    """Where the preprocessing container of the configuration stands."""

    INSTEAD = "instead"
    AFTER = "after"


def import_config(
    source: Annotated[Path, typer.Argument(help="A Helm values.yaml, or a backend_config.json.")],
    out: Annotated[Path, typer.Option(help="The folder to write into; nothing there is written over.")],
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch sequences that are given by https addresses.")] = False,
    external: Annotated[
        ExternalMode | None, typer.Option(help="Keep the preprocessing container, and declare what it makes.")
    ] = None,
) -> None:
    """Turn a Loculus configuration into organism files, references, and a report of what became of each key.

    Then checks what was written. Exit status 1 when an instance would refuse it: sequences are still to
    be fetched, or something has to be corrected by hand.
    """
    import functools

    import httpx

    from readvault.config import Settings
    from readvault.organisms.checking import check
    from readvault.organisms.loculus import fetching, importing
    from readvault.organisms.loculus.notes import Outcome

    with httpx.Client() as client:
        getting = functools.partial(fetching.fetch, client=client) if fetch else None
        mode = external.value if external else None
        done = importing.import_config(source, out, fetch=getting, external=mode)  # type: ignore[arg-type]
    counts = ", ".join(f"{done.notes.count(each)} {each}" for each in Outcome)
    typer.echo(f"{len(done.organisms)} organisms: {', '.join(done.organisms) or 'none'}")
    typer.echo(f"{counts}: {out / importing.REPORT}")
    for path, urls in done.to_fetch.items():
        typer.echo(f"to be fetched into {path}: {', '.join(urls)}")
    errors = check([out / "organisms"], Settings()).errors if done.organisms else []
    for finding in errors:
        typer.secho(str(finding), fg=typer.colors.RED)
    if errors or not done.organisms:
        raise typer.Exit(1)
