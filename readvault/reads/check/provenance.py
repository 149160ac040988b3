"""What made a result: tools, parameters, and the digests of everything that had a say."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from readvault.domain.reads import Platform
from readvault.domain.reports import HostDepletionReport
from readvault.reads import references, tools
from readvault.reads.align import primers, reference_choice
from readvault.reads.dehumanize import host_index
from readvault.reads.sample import ChosenReference, PrimerSite, Sample
from readvault.reads.validate import intake

_NO_SAY: Any = {
    "version": True,
    "outputs": True,
    "align": {"primers", "primer_schemes"},
    "dehumanize": {"originals", "rescreen"},
}
"""Parameters of the pipeline that change no byte of a result, or are named by their digests instead of their paths."""


def describe(sample: Sample, reference: ChosenReference | None, sites: tuple[PrimerSite, ...]) -> dict[str, Any]:
    """The provenance of a sample's results, without paths: the same for the same input and configuration.

    `reference` is None when none was chosen yet, `sites` are the primers that were clipped.
    """
    organism = sample.organism
    found: dict[str, Any] = {
        "tools": tools.versions(),
        "parameters": _parameters(sample),
        "referenceSha256": references.digest_of(reference.segments) if reference else None,
        "genesSha256": _digest(reference.genes) if reference and reference.genes else None,
        "primersSha256": primers.digest(sites) if sites else None,
        "hostIndexSha256": host_index.digest(sample.host_index) if sample.host_index else None,
    }
    if organism.references:
        found["candidateReferences"] = reference_choice.digests(organism)
    return found


def screen(sample: Sample, depletion: HostDepletionReport | None) -> dict[str, Any] | None:
    """What the screen for human reads saw, in exact counts; None where there was none.

    By this alone it is decided whether originals may ever be public, so rounded shares won't do.
    """
    if depletion is None or not depletion.screened:
        return None
    return {
        "files": len(sample.inputs),
        "formats": sorted({intake.format_of(file.path).value for file in sample.inputs}),
        "reads": depletion.reads_in,
        "kept": depletion.reads_kept,
        "human": depletion.reads_removed,
        "tooShort": depletion.reads_too_short,
    }


def _parameters(sample: Sample) -> dict[str, Any]:
    """What the organism says, and what readvault takes where it says nothing."""
    pipeline = sample.organism.pipeline
    said = pipeline.model_dump(mode="json", by_alias=True, exclude=_NO_SAY)
    thresholds = {str(each): pipeline.thresholds(each).model_dump(mode="json", by_alias=True) for each in Platform}
    return {**said, "platforms": thresholds, "sampleType": str(sample.sample_type)}


def _digest(files: tuple[Path, ...]) -> str:
    content = hashlib.sha256()
    for path in files:
        content.update(path.read_bytes())
    return content.hexdigest()
