"""What an organism's configuration comes to, with everything that the file leaves to readvault."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from readvault.domain.organism import Organism
from readvault.domain.reads import Platform


def effective(organism: Organism, shown: Callable[[Path], Any] = str) -> dict[str, Any]:
    """All keys with their values; each file as `shown` tells it. Can be loaded again while files are paths."""
    said: dict[str, Any] = organism.model_dump(mode="json", by_alias=True, exclude={"reference", "references"})
    genomes = [
        {**each.model_dump(mode="json", by_alias=True), "fasta": shown(each.fasta), "genes": _shown(each.genes, shown)}
        for each in organism.candidates
    ]
    said["reference"], said["references"] = (genomes[0], []) if organism.reference else (None, genomes)
    pipeline = said["pipeline"]
    align = organism.pipeline.align
    pipeline["align"]["primerSchemes"] = {name: shown(path) for name, path in align.primer_schemes.items()}
    named = str(align.primers) in align.primer_schemes
    pipeline["align"]["primers"] = str(align.primers) if named else _shown(align.primers, shown)
    pipeline["platforms"] = {
        str(each): organism.pipeline.thresholds(each).model_dump(mode="json", by_alias=True) for each in Platform
    }
    qc = organism.pipeline.qc
    rules = qc.rules if qc.rules == "default" else [rule.model_dump(mode="json", by_alias=True) for rule in qc.rules]
    pipeline["qc"] = {"onError": qc.on_error, "rules": rules}
    first = ("name", "displayName", "reference", "references")
    return {**{key: said[key] for key in first}, **said}


def by_content(organism: Organism) -> dict[str, Any]:
    """All keys with their values; files by name and SHA-256, so that what two machines have can be compared."""
    return effective(organism, content_of)


def content_of(path: Path) -> str:
    """A file by its name and the start of its SHA-256."""
    try:
        return f"{path.name} (sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]})"
    except OSError:
        return f"{path.name} (can't be read)"


def as_yaml(organism: Organism) -> str:
    """The effective configuration as an organism file."""
    return yaml.safe_dump(effective(organism), sort_keys=False, allow_unicode=True, width=120)


def _shown(path: Path | None, shown: Callable[[Path], Any]) -> Any:
    return None if path is None else shown(path)
