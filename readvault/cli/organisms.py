"""`readvault organisms`: look at organism files before an instance does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from readvault.config import Settings
    from readvault.domain.organism import Organism
    from readvault.organisms.differences import Difference

organisms_app = typer.Typer(help="Organism files: check, list, show, compare.", no_args_is_help=True)
TOKEN = "READVAULT_TOKEN"  # noqa: S105 - the name of a variable
Folder = Annotated[Path | None, typer.Option("--folder", help="Folder of organism files; the instance's by default.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document, for machines.")]
_SHOWN = 60


@organisms_app.command()
def check(
    places: Annotated[list[Path] | None, typer.Argument(help="Folders or files; the instance's by default.")] = None,
    as_json: AsJson = False,
    strict: Annotated[bool, typer.Option(help="Warnings are errors.")] = False,
) -> None:
    """Look for every mistake in organism files and in what they name. Needs no database and no S3.

    Exit status 1 when an instance would refuse them.
    """
    from readvault.organisms.checking import check as look
    from readvault.organisms.findings import Level

    settings = _settings()
    checked = look(places or [settings.organisms_dir], settings)
    failed = bool(checked.findings if strict else checked.errors)
    if as_json:
        found = [
            {"level": f.level, "file": str(f.file), "line": f.line, "key": f.key, "message": f.message,
             "advice": f.advice} for f in checked.findings
        ]  # fmt: skip
        typer.echo(json.dumps({"ok": not failed, "organisms": sorted(checked.organisms), "findings": found}, indent=2))
    else:
        for finding in checked.findings:
            colour = typer.colors.RED if finding.level is Level.ERROR else typer.colors.YELLOW
            typer.secho(str(finding), fg=colour)
        warnings = len(checked.findings) - len(checked.errors)
        names = ", ".join(sorted(checked.organisms)) or "none"
        typer.echo(f"{len(checked.errors)} errors, {warnings} warnings; organisms without error: {names}")
    if failed:
        raise typer.Exit(1)


@organisms_app.command("list")
def list_organisms(folder: Folder = None, as_json: AsJson = False) -> None:
    """List the organisms: name, pipeline version, whether reads can be processed on this machine, title."""
    from readvault.host_index_readiness import organism_readiness

    settings = _settings()
    found = _organisms(settings, folder)
    ready = organism_readiness(settings, found)
    if as_json:
        rows = [
            {"name": name, "displayName": each.title, "pipelineVersion": each.pipeline.version, "notReady": ready[name]}
            for name, each in found.items()
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    for name, each in found.items():
        state = "ready" if ready[name] is None else f"not ready: {ready[name]}"
        typer.echo(f"{name}\tversion {each.pipeline.version}\t{each.title}\t{state}")


@organisms_app.command()
def show(name: str = typer.Argument(help="The organism's name."), folder: Folder = None) -> None:
    """Show an organism's effective configuration as YAML: what the file says, and the defaults of the rest."""
    from readvault.domain.errors import NotReady
    from readvault.organisms.effective import as_yaml

    found = _organisms(_settings(), folder)
    if name not in found:
        raise NotReady(f"there is no organism {name!r}, but {', '.join(found)}")
    typer.echo(as_yaml(found[name]), nl=False)


@organisms_app.command()
def diff(
    new: Annotated[Path | None, typer.Argument(help="The folder that is to be; the instance's by default.")] = None,
    against: Annotated[str, typer.Option(help="A folder, or the address of a running API.")] = "",
    as_json: AsJson = False,
) -> None:
    """Compare organism files with what runs now, and say which changes need a raised pipeline.version.

    A running API is asked with the token of a maintainer in READVAULT_TOKEN. Exit status 1 when results
    change under an unchanged version, or when the new files can't be loaded.
    """
    from readvault.organisms.differences import difference
    from readvault.organisms.effective import by_content

    settings = _settings()
    after = {name: by_content(each) for name, each in _organisms(settings, new).items()}
    against = against or settings.public_url
    if against.startswith(("http://", "https://")):
        before = {name: each for name, each in _running(against).items() if name in after or name != "demo"}
    else:
        before = {name: by_content(each) for name, each in _organisms(settings, Path(against)).items()}
    found = difference(before, after)
    typer.echo(json.dumps(_as_json(found), indent=2)) if as_json else _tell(found)
    if found.unraised:
        raise typer.Exit(1)


def _tell(found: Difference) -> None:
    for name in found.added:
        typer.secho(f"+ {name}: new", fg=typer.colors.GREEN)
    for name in found.removed:
        typer.secho(f"- {name}: removed", fg=typer.colors.RED)
    for change in found.changes:
        typer.echo(f"{change.organism}: {change.key}: {_short(change.before)} -> {_short(change.after)}", nl=False)
        typer.echo(f"  ({change.effect})")
    for warning in found.warnings:
        typer.secho(f"WARNING: {warning}", fg=typer.colors.YELLOW)
    if not found:
        typer.echo("no difference")


def _as_json(found: Difference) -> dict[str, Any]:
    changes = [
        {"organism": c.organism, "key": c.key, "before": c.before, "after": c.after, "effect": c.effect}
        for c in found.changes
    ]
    return {"added": found.added, "removed": found.removed, "changes": changes, "warnings": list(found.warnings)}


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _running(address: str) -> dict[str, dict[str, Any]]:
    """The effective configuration that an API has now."""
    import httpx

    from readvault.domain.errors import NotReady

    token = os.environ.get(TOKEN, "")
    if not token:
        raise NotReady(f"set {TOKEN} to a maintainer's token, or name a folder with --against")
    url = f"{address.rstrip('/')}/admin/organisms"
    try:
        answer = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        body = answer.raise_for_status().json()
        return {name: each["configuration"] for name, each in body["organisms"].items()}
    except httpx.HTTPStatusError as fault:
        raise NotReady(f"{url} answers {fault.response.status_code}: is the token a maintainer's?") from None
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as fault:
        raise NotReady(f"{url} gives no organisms ({type(fault).__name__})") from None


def _settings() -> Settings:
    from readvault.config import Settings

    return Settings()


def _organisms(settings: Settings, folder: Path | None) -> dict[str, Organism]:
    from readvault.config import load_organisms

    return load_organisms(folder or settings.organisms_dir)
