"""`readvault demo`: the main job with real servers, from reads to release, every promise checked."""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

if TYPE_CHECKING:
    from readvault.cli.demo_truth import Truth
    from readvault.client import Client

ORGANISM = "demo"
console = Console(highlight=False)


def demo(
    reads: list[Path] = typer.Argument(None, help="Your own SARS-CoV-2 reads; else reads are simulated."),
    data_dir: Path = typer.Option(Path(".readvault"), help="The stack's data directory."),
    pairs: int = typer.Option(15_000, min=2000, help="How many pairs are simulated."),
    keep: bool | None = typer.Option(None, help="Keep a stack that was started until Enter; asked on a terminal only."),
    no_prefect: bool = typer.Option(False, "--no-prefect", help="A stack of its own runs jobs without Prefect."),
) -> None:
    """Take reads from upload to release through real servers, and check every byte. Fails when anything is off."""
    from readvault.cli.demo_stack import running_stack

    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="readvault-demo-") as place,
        running_stack(data_dir, ORGANISM, _say, *(["--no-prefect"] if no_prefect else [])) as stack,
    ):
        truth = _simulated(data_dir, Path(place), pairs) if not reads else None
        faults = _whole_way(stack, data_dir, list(reads) if reads else truth.files, Path(place), truth)  # type: ignore[union-attr]
        for fault in faults:
            console.print(f"[red]WRONG[/red] {fault}")
        verdict = "[red]the demo failed[/red]" if faults else "[green]everything is as it should be[/green]"
        console.print(f"\n{verdict} ({time.monotonic() - start:.0f} s)")
        if keep if keep is not None else sys.stdin.isatty() and sys.stdout.isatty():
            console.print("The stack goes on, so that you can look at it. Press Enter to stop it.")
            sys.stdin.readline()
    if faults:
        raise typer.Exit(1)


def _whole_way(stack: dict[str, Any], data_dir: Path, files: list[Path], place: Path, truth: Truth | None) -> list[str]:
    from readvault.cli import demo_truth
    from readvault.client import Client, files_cell

    name, password = _new_user(data_dir)
    with Client(stack["api"], stack["identity"]) as lab, Client(stack["api"], stack["identity"]) as anyone:
        lab.login(name, password)
        group = lab.create_group(
            f"Demo group of {name}",
            institution="A demo on this machine",
            contact_email="demo@example.org",
            address={"line1": "-", "line2": "", "city": "-", "state": "", "postalCode": "-", "country": "-"},
        )
        tickets = lab.request_uploads(group, files, category="rawReads")
        _upload(lab, tickets)
        row = ("demo-1", f"{datetime.now(UTC):%Y-%m-%d}", "Switzerland", files_cell(tickets))
        metadata = "id\tdate\tcountry\tfiles.rawReads\n" + "\t".join(row) + "\n"
        entry = lab.submit(ORGANISM, group, metadata)[0]
        accession, version = entry["accession"], entry["version"]
        _say(f"submitted as {accession}.{version}")
        review = lab.wait_until_processed(
            ORGANISM, accession, version, on_status=lambda status: _say(f"status {status}"), every=0.5
        )
        _show(review)
        faults = demo_truth.private_before_approval(anyone, accession, version, review)
        if review["processingResult"] == "HAS_ERRORS":
            return [*faults, "the submission has errors: " + "; ".join(e["message"] for e in review["errors"])]
        lab.approve(ORGANISM, [(accession, version, review["manifestDigest"])])
        _say(f"approved manifest {review['manifestDigest'][:16]}…; it is public now")
        faults += demo_truth.downloads_equal_the_manifest(anyone, accession, version, review, place / "public")
        if truth is not None:
            faults += truth.differences(place / "public")
        _say(f"review data: {stack['api']}/{ORGANISM}/review/{accession}/{version} (log in as {name} / {password})")
        if stack.get("prefectUi"):
            _say(f"Prefect UI: {stack['prefectUi']} (password in {data_dir / 'secrets.json'})")
        return faults


def _simulated(data_dir: Path, place: Path, pairs: int) -> Truth:
    from readvault import demo_organism
    from readvault.cli.demo_truth import Truth
    from readvault.config import Settings

    _say(f"simulating {pairs} pairs with planted variants and reads of an invented host")
    settings = Settings(data_dir=data_dir, load_demo_organism=True)
    (reference,) = demo_organism.load(settings).candidates
    return Truth.simulate(reference.fasta, demo_organism.host_genome(settings), place, pairs)


def _new_user(data_dir: Path) -> tuple[str, str]:
    from readvault import bootstrap
    from readvault.config import Settings
    from readvault.services.people import accounts

    name, password = f"lab-{secrets.token_hex(3)}", secrets.token_urlsafe(12)
    house = bootstrap.house(Settings(data_dir=data_dir, orchestrator="inline"))
    accounts.create_account(house, name, password)
    house.sessions.close()
    return name, password


def _upload(lab: Client, tickets: list[Any]) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        for ticket in tickets:
            shown = bar.add_task(ticket.name, total=ticket.size)
            lab.upload(ticket, lambda sent, shown=shown: bar.advance(shown, sent))  # type: ignore[misc]
    _say(f"uploaded {len(tickets)} files straight to S3, each once, with the hash that was signed")


def _show(review: dict[str, Any]) -> None:
    metadata = review["processedData"]["metadata"]
    table = Table(
        title=f"{review['accession']}.{review['version']}: {review['processingResult']}", title_justify="left"
    )
    table.add_column("what")
    table.add_column("value", justify="right")
    for key in ("totalReads", "humanFraction", "mappedReads", "depthOfCoverage", "breadthOfCoverage", "platform"):
        table.add_row(key, str(metadata.get(key)))
    table.add_row("qualityControl", str(metadata.get("qualityControlDetermination")))
    for category, files in review["processedData"]["files"].items():
        table.add_row(category, ", ".join(f"{file['name']} ({file['size']:,} bytes)" for file in files))
    console.print(table)
    for kind in ("errors", "warnings"):
        for annotation in review[kind]:
            console.print(f"{kind[:-1]}: {annotation['message']}", markup=False)


def _say(text: str) -> None:
    console.print(f"• {text}", markup=False, soft_wrap=True)
