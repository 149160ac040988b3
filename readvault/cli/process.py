"""`readvault process`: the pipeline on local files, without any server."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from readvault.domain.annotations import Annotation
    from readvault.domain.organism import Organism
    from readvault.domain.reads import Platform
    from readvault.pipeline import Around

PLATFORMS = {
    "auto": None,
    "illumina": "ILLUMINA",
    "ont": "OXFORD_NANOPORE",
    "pacbio": "PACBIO_SMRT",
}
SUBMITTERS_FAULT, OUR_FAULT = 2, 1


def process(
    reads: list[Path] = typer.Argument(
        None, help="FASTQ (plain, gzip, bgzf, zstd), BAM, SAM, CRAM; mates in any order; or their folder."
    ),
    organism: Path = typer.Option(..., help="The organism's YAML file."),
    out: Path = typer.Option(..., help="Where the outputs go; made when it is not there."),
    host_index: Path | None = typer.Option(None, help="The host index; without one no reads are written."),
    primers: Path | None = typer.Option(None, help="Primer scheme (BED) to clip."),
    primer_scheme: str | None = typer.Option(None, help="One of the organism's primer schemes, or none."),
    platform: str = typer.Option("auto", help="auto, illumina, ont or pacbio."),
    consensus: Path | None = typer.Option(None, help="A submitted consensus (FASTA) to check against the reads."),
    no_dehumanize: bool = typer.Option(False, "--no-dehumanize", help="Write reads although nothing screened them."),
    name: str = typer.Option("sample", help="The sample's name in all outputs."),
    threads: int = typer.Option(2, min=1, help="Threads; the outputs do not depend on them."),
) -> None:
    """Process reads on this machine: dehumanized reads, alignment, consensus, variants, coverage, report.

    Exit status: 0 processed, 2 the reads or the consensus are at fault (annotations on standard
    error and in result.json), 1 we are, 64 the command line is wrong.
    """
    from readvault.cli.read_files import read_files
    from readvault.config import load_organism
    from readvault.domain.errors import NotReady, ReadvaultError
    from readvault.reads.sample import Declared, Sample

    errors = Console(stderr=True)
    _refuse_contradictions(host_index, no_dehumanize, name)
    if platform not in PLATFORMS:
        raise typer.BadParameter(f"one of {', '.join(PLATFORMS)}", param_hint="--platform")
    if not reads and consensus is None:
        raise typer.BadParameter("give reads, or a consensus, or both", param_hint="READS")
    try:
        chosen = load_organism(organism)
        index = None if no_dehumanize else _host_index(host_index, chosen)
        if index is None and reads:
            _say_nothing_is_dehumanized(errors, no_dehumanize)
        if primers is not None and not primers.is_file():
            raise NotReady(f"there is no primer scheme {primers}")
        _refuse_unknown_scheme(chosen, primers, primer_scheme)
        if consensus is not None and chosen.submission.consensus_sequences == "forbidden":
            raise typer.BadParameter(f"{chosen.name} takes no consensus", param_hint="--consensus")
        submitted, faults = _submitted(consensus)
        out.mkdir(parents=True, exist_ok=True)
        with _work_directory(out) as directory:
            sample = Sample(
                name=name,
                organism=chosen,
                inputs=read_files(reads or ()),
                directory=directory,
                host_index=index,
                platform=_platform(platform),
                primers=primers,
                declared=Declared(primer_scheme=primer_scheme),
                submitted=submitted,
                threads=threads,
                publish_unscreened=no_dehumanize,
            )
            outcome = _process(sample, out, faults, errors)
    except (ReadvaultError, OSError) as fault:
        line = _in_one_line(fault)
        errors.print(f"readvault: {line}", style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(OUR_FAULT) from fault
    raise typer.Exit(outcome)


def _refuse_contradictions(host_index: Path | None, no_dehumanize: bool, name: str) -> None:
    if no_dehumanize and host_index is not None:
        raise typer.BadParameter("it contradicts --host-index", param_hint="--no-dehumanize")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.:+=#-]{0,99}", name):
        raise typer.BadParameter("letters, digits and _.:+=#- only, at most 100", param_hint="--name")


def _refuse_unknown_scheme(organism: Organism, primers: Path | None, named: str | None) -> None:
    align = organism.pipeline.align
    if named is not None and primers is not None:
        raise typer.BadParameter("it contradicts --primers", param_hint="--primer-scheme")
    if named is not None and named.strip().casefold() != "none" and align.scheme_named(named) is None:
        known = ", ".join([*sorted(align.schemes), "none"])
        raise typer.BadParameter(f"{organism.name} has: {known}", param_hint="--primer-scheme")


def _in_one_line(fault: Exception) -> str:
    """What went wrong; beneath a failure of ours also the cause, since nobody but the user sees it here."""
    from readvault.domain.errors import ProcessingFailure

    if isinstance(fault, OSError):
        return f"{fault.strerror or type(fault).__name__}: {fault.filename or ''}".rstrip(": ")
    cause = " ".join(str(fault.__cause__ or "").split()) if isinstance(fault, ProcessingFailure) else ""
    return f"{fault}" + (f" ({cause[:300]})" if cause else "")


def _process(sample: Any, out: Path, faults: tuple[Annotation, ...], errors: Console) -> int:
    import json

    from readvault.local_job import RESULT, LocalJob
    from readvault.pipeline import STEPS, run

    job = LocalJob(sample, out, faults)
    with _progress(len(STEPS)) as around:
        run(job, around)
    result = json.loads((out / RESULT).read_text(encoding="utf-8"))
    for kind in ("errors", "warnings"):
        for annotation in result[kind]:
            errors.print(
                f"{kind[:-1]}: {_place(annotation)}{annotation['message']}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    typer.echo(f"{result['processingResult']}: {len(result.get('files', []))} files in {out}")
    return SUBMITTERS_FAULT if result["errors"] else 0


def _place(annotation: dict[str, Any]) -> str:
    parts = [annotation["file"] or ""]
    parts += [f"{what} {annotation[what]}" for what in ("record", "line") if annotation[what] is not None]
    place = ", ".join(part for part in parts if part)
    return f"{place}: " if place else ""


@contextmanager
def _progress(steps: int) -> Iterator[Around]:
    from readvault.domain.reports import Report
    from readvault.pipeline import Body

    columns = (TextColumn("{task.description:<12}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        shown = bar.add_task("", total=steps)

        def around(step: str, body: Body) -> Report:
            bar.update(shown, description=step)
            try:
                return body()
            finally:
                bar.advance(shown)

        yield around


@contextmanager
def _work_directory(out: Path) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix=".work-", dir=out))
    try:
        yield directory.absolute()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _host_index(given: Path | None, organism: Organism) -> Path | None:
    from readvault.config import Settings
    from readvault.domain.errors import NotReady
    from readvault.host_index_readiness import organism_readiness  # not by way of bootstrap: no server is loaded

    if given is not None:
        if not given.is_file():
            raise NotReady(f"there is no host index {given}")
        return given
    if organism.pipeline.dehumanize.index is None:
        return None
    settings = Settings()
    reason = organism_readiness(settings, {organism.name: organism})[organism.name]
    if reason is not None:
        raise NotReady(f"{organism.name}: {reason}")
    return settings.host_index(organism)


def _say_nothing_is_dehumanized(errors: Console, publish: bool) -> None:
    why = "--no-dehumanize was given" if publish else "no host index"
    consequence = "Reads are written all the same: never publish them." if publish else "No file with reads is written."
    errors.print(f"NOTHING IS DEHUMANIZED: {why}. {consequence}", style="bold red", highlight=False, soft_wrap=True)


def _platform(name: str) -> Platform | None:
    from readvault.domain.reads import Platform

    chosen = PLATFORMS[name]
    return None if chosen is None else Platform(chosen)


def _submitted(path: Path | None) -> tuple[dict[str, str] | None, tuple[Annotation, ...]]:
    """The submitted sequences, or what is wrong with their file."""
    from readvault.domain.errors import InvalidSubmission, NotReady
    from readvault.reads.check import submitted_consensus

    if path is None:
        return None, ()
    if not path.is_file():
        raise NotReady(f"there is no file {path}")
    try:
        return submitted_consensus.read(path, path.name), ()
    except InvalidSubmission as refusal:
        return None, refusal.annotations
