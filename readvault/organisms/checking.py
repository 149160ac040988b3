"""Organism files looked at as an instance would load them, without a database or S3."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from readvault.config import Settings, load_organism
from readvault.domain.errors import ProcessingFailure, ReadvaultError
from readvault.domain.organism import Align, Organism
from readvault.host_index_readiness import EXTERNAL, organism_readiness
from readvault.organisms import exported_names, named_files, suspicious
from readvault.organisms.findings import Finding, Level
from readvault.organisms.mistakes import dotted, organism_in
from readvault.yaml_files import Document, Place


@dataclass(slots=True)
class Checked:
    """All that was found, and the organisms of the files without error, by name."""

    findings: list[Finding] = field(default_factory=list)
    organisms: dict[str, Organism] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def errors(self) -> list[Finding]:
        """What keeps the set from being loaded."""
        return [finding for finding in self.findings if finding.level is Level.ERROR]


def files_of(places: Iterable[Path]) -> tuple[list[Path], list[Finding]]:
    """The organism files of folders and files, and what is wrong with the choice."""
    found: list[Path] = []
    wrong: list[Finding] = []
    for place in places:
        if place.is_dir():
            inside = sorted(place.glob("*.yaml"))
            found += inside
            if not inside:
                wrong.append(Finding(Level.ERROR, place, 1, "", "no organism files (*.yaml)", "Choose another folder."))
            wrong += [
                Finding(Level.WARNING, other, 1, "", "is not loaded", "Organism files are named *.yaml.")
                for other in sorted(place.glob("*.yml"))
            ]
        elif place.is_file():
            found.append(place)
        else:
            wrong.append(Finding(Level.ERROR, place, 1, "", "there is no such file or folder"))
    return found, wrong


def check(places: Iterable[Path], settings: Settings, *, doubts: bool = True) -> Checked:
    """Look at all files together. `doubts`: also tell what is legal but suspicious, and read host indexes."""
    checked = Checked()
    paths, wrong = files_of(places)
    checked.findings += wrong
    first_with: dict[str, Path] = {}
    for path in paths:
        organism, document, found = organism_in(path)
        found += named_files.faults(path, document) if isinstance(document.content, dict) else ()
        name = document.content.get("name") if isinstance(document.content, dict) else None
        if isinstance(name, str):
            if name in first_with:
                message = f"{name!r} is the name in {first_with[name].name} too"
                advice = "Rename one: each organism is a path of the API."
                found.append(Finding(Level.ERROR, path, document.line(("name",)), "name", message, advice))
            first_with.setdefault(name, path)
        if not found:
            found += _loaded(checked, path, document, settings)
        if organism is not None and doubts:
            found += _doubts(path, document, organism, settings)
        checked.findings += sorted(found, key=lambda finding: finding.line)
    if doubts:
        checked.findings += _titles(checked)
    return checked


def _loaded(checked: Checked, path: Path, document: Document, settings: Settings) -> Iterator[Finding]:
    try:
        organism = load_organism(path)
        names = list(exported_names.faults(path, document, organism, terms=settings.data_use_terms))
    except ReadvaultError as fault:
        yield Finding(Level.ERROR, path, 1, "", str(fault))
        return
    if names:
        yield from names
        return
    checked.organisms[organism.name] = organism
    checked.files[organism.name] = path


def _doubts(path: Path, document: Document, organism: Organism, settings: Settings) -> Iterator[Finding]:
    def finding(level: Level, place: Place, message: str, advice: str) -> Finding:
        return Finding(level, path, document.line(place), dotted(place), message, advice)

    try:
        genes = named_files.genes_of(document.content, path.absolute().parent)
    except (ProcessingFailure, OSError):
        genes = {}  # told already
    for at, message, advice in suspicious.doubts(organism, settings, genes):
        yield finding(Level.WARNING, at, message, advice)
    reason = index_fault(organism, settings)
    if reason is not None:
        place: Place = ("pipeline", "dehumanize", "index")
        advice = "Until then nothing of it is processed: docs/organisms.md, 'Pinning a host index'."
        yield finding(Level.ERROR if "has SHA-256" in reason else Level.WARNING, place, reason, advice)


def index_fault(organism: Organism, settings: Settings) -> str | None:
    """Why reads of the organism can't be screened on this machine; None when they can, or needn't be."""
    alone = organism.model_copy(update={"reference": None, "references": ()})  # its files were looked at
    alone = alone.model_copy(update={"pipeline": organism.pipeline.model_copy(update={"align": Align()})})
    reason = organism_readiness(settings, {organism.name: alone})[organism.name]
    return None if reason == EXTERNAL else reason


def _titles(checked: Checked) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name, organism in checked.organisms.items():
        if organism.title in seen:
            message = f"people read the same name for {seen[organism.title]}"
            yield Finding(Level.WARNING, checked.files[name], 1, "displayName", message, "Tell them apart.")
        seen.setdefault(organism.title, name)
