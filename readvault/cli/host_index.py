"""`readvault host-index`: build or fetch the index by which human reads are found."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

host_index_app = typer.Typer(help="The index by which human reads are found.", no_args_is_help=True)
_DEFAULT_NAME = "panhuman-1.k31w15"
RECALL_MARK = "<!-- recall -->"


@host_index_app.command()
def build(
    fasta: Annotated[
        Path, typer.Argument(help="The host's sequences, FASTA, plain or gzip.", exists=True, dir_okay=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The index file to write.")],
    minimizers: Annotated[
        bool, typer.Option("--minimizers", help="Only the k-mers that deacon looks up: an eighth of the size.")
    ] = False,
) -> None:
    """Index a FASTA, all k-mers of it unless told otherwise: for tests, demos and small hosts."""
    from readvault.domain.errors import NotReady
    from readvault.reads.dehumanize import host_index

    try:
        built = host_index.build(fasta, output, minimizers=minimizers)
    except ValueError as fault:
        raise typer.BadParameter(str(fault)) from fault
    except EOFError as fault:
        raise NotReady(f"{fasta} is cut off") from fault
    except (OSError, zlib.error) as fault:
        raise NotReady(f"the index can't be built: {fault}") from fault
    Console().print(f"{built.kmers} k-mers, k={built.k}, w={built.w}")
    typer.echo(f"sha256: {built.sha256}")


@host_index_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Which of deacon's prebuilt indexes.")] = _DEFAULT_NAME,
    url: Annotated[str | None, typer.Option(help="Fetch from here instead.")] = None,
    sha256: Annotated[str | None, typer.Option(help="Refuse another digest than this (hexadecimal).")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; else NAME.idx among the host indexes.")
    ] = None,
) -> None:
    """Download an index (the panhuman one: 3.3 GB) and print its SHA-256; stopped downloads go on."""
    from readvault.config import Settings
    from readvault.domain.errors import NotReady
    from readvault.reads.dehumanize import host_index_fetch

    source = url or f"{host_index_fetch.DOWNLOADS}/{name}.idx"
    target = output or Settings().host_indexes / f"{name}.idx"
    console = Console(stderr=True)
    console.print(f"from {source}\nto   {target}")
    try:
        with _bar(console) as advance:
            digest = host_index_fetch.fetch(source, target, sha256, progress=advance)
    except OSError as fault:
        raise NotReady(f"the index can't be written: {fault}") from fault
    typer.echo(f"sha256: {digest}")
    if sha256 is None:
        console.print(
            "[bold]Nothing vouched for this file.[/bold] Compare the digest with a second source, then pin it in the"
            f" organism's file:\n  dehumanize: {{index: {target.stem}, sha256: {digest}}}",
            highlight=False,
            soft_wrap=True,
        )


@host_index_app.command()
def recall(
    host: Annotated[
        Path | None, typer.Option(help="Draw human reads from this FASTA; else from a synthetic host.", exists=True)
    ] = None,
    index: Annotated[
        Path | None, typer.Option(help="Screen with this index; else with the host's own minimizers.", exists=True)
    ] = None,
    virus: Annotated[
        Path | None, typer.Option(help="Draw viral reads from this FASTA; else from a synthetic virus.", exists=True)
    ] = None,
    reads: Annotated[int, typer.Option(min=100, help="Reads, or pairs, for each figure.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Other reads with another one.")] = 1,
    into: Annotated[
        Path | None, typer.Option(help="Put the tables into this page, between its two `recall` marks.", exists=True)
    ] = None,
) -> None:
    """Measure how many human reads the screen finds, by length and error rate, and how many viral ones it takes."""
    import tempfile

    from readvault.domain.errors import NotReady
    from readvault.reads.dehumanize import host_index, host_recall

    with tempfile.TemporaryDirectory() as name:
        try:
            source = host or host_recall.synthetic(Path(name) / "host.fasta", seed)
            alien = virus or host_recall.synthetic(Path(name) / "virus.fasta", seed + 1)
            screen = index or host_index.build(source, Path(name) / "host.idx", minimizers=True).path
            tables = host_recall.as_markdown(host_recall.measure(source, alien, screen, templates=reads, seed=seed))
        except (ValueError, EOFError, OSError) as fault:
            raise NotReady(f"the screen can't be measured: {fault}") from fault
    if into is None:
        typer.echo(tables)
        return
    page = into.read_text(encoding="utf-8").split(RECALL_MARK)
    if len(page) != 3:
        raise NotReady(f"{into} has not two lines {RECALL_MARK}")
    into.write_text(f"{page[0]}{RECALL_MARK}\n{tables}{RECALL_MARK}{page[2]}", encoding="utf-8")


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar that is told the bytes so far and in all."""
    columns = (TextColumn("fetching"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("fetch", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
