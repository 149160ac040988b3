"""The report of one sample: one HTML file, readable without a network, the same bytes every time.

It is public after release, so it shows figures and sequence positions only: no file name of the
submitter, no read, no date, no host.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from readvault.domain.annotations import Annotation
from readvault.domain.organism import SampleType
from readvault.domain.reports import CheckReport
from readvault.reads import references
from readvault.reads.call import genes
from readvault.reads.call.calls import Calls, GeneCall, Variant
from readvault.reads.call.gene_annotation import load_genes
from readvault.reads.check import coverage_plot
from readvault.reads.check.qc import Findings
from readvault.reads.sample import ChosenReference, Sample

MAX_VARIANTS = 300
MANY_SEGMENTS = 3
"""From so many segments on, two plots stand side by side."""


def write_report(
    path: Path,
    *,
    sample: Sample,
    reference: ChosenReference,
    found: Findings,
    check: CheckReport,
    provenance: Mapping[str, Any],
) -> None:
    """Write the report of a sample as one self-contained HTML file: verdict, figures, plots, tables, provenance."""
    calls, consensus = found.calls, found.consensus
    plots = []
    rows: list[VariantRow] = []
    hidden = 0
    if calls is not None and consensus is not None:
        plots = [
            coverage_plot.plot(
                call,
                calls.variants,
                min_depth=consensus.min_depth,
                amplicons=check.amplicons,
                narrow=len(calls.segments) >= MANY_SEGMENTS,
            )
            for call in calls.segments
        ]
        shown, hidden = _worth_showing(calls.variants, consensus.min_depth)
        rows = _with_changes(shown, reference)
    text = _template().render(
        sample_name=sample.name,
        organism=sample.organism,
        is_wastewater=sample.sample_type is SampleType.WASTEWATER,
        validation=found.validation,
        depletion=found.depletion,
        alignment=found.alignment,
        consensus=consensus,
        check=check,
        metadata=check.processed_metadata,
        determination=check.processed_metadata["qualityControlDetermination"],
        errors=messages(check.errors),
        warnings=messages((*found.warnings, *check.warnings)),
        verdicts=sorted(check.verdicts, key=lambda v: ("error", "warn", "pass").index(v.verdict)),
        plots=plots,
        layout=coverage_plot,
        variants=rows,
        hidden_variants=hidden,
        with_changes=bool(reference.genes),
        proteins=_notable_proteins(calls),
        several_segments=len(plots) > 1,
        reference_name=references.spoken(reference),
        thresholds=sample.organism.pipeline.thresholds(found.validation.platform) if found.validation else None,
        tools=dict(provenance.get("tools", {})),
        digests=_digests(provenance),
        parameters=json.dumps(provenance.get("parameters", {}), indent=2, sort_keys=True),
    )
    path.write_text(text, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class VariantRow:
    """A variant with the amino acid changes that it makes by itself."""

    variant: Variant
    changes: str


def messages(annotations: tuple[Annotation, ...]) -> list[str]:
    """What submitters are told, each once, without the names of their files."""
    return list(dict.fromkeys(annotation.public_message for annotation in annotations))


def _worth_showing(variants: tuple[Variant, ...], min_depth: int) -> tuple[list[Variant], int]:
    """The variants with enough evidence, or a majority of a sufficient depth; the VCF has the rest."""
    wanted = [v for v in variants if not v.filters or (v.frequency >= 0.5 and v.depth >= min_depth)][:MAX_VARIANTS]
    return wanted, len(variants) - len(wanted)


def _with_changes(variants: list[Variant], reference: ChosenReference) -> list[VariantRow]:
    known = load_genes(reference.genes, reference.segments)
    sequences = {segment.name: segment.sequence for segment in reference.segments}
    rows = []
    for variant in variants:
        changes = (genes.change(gene, sequences[variant.segment], variant) for gene in known)
        rows.append(VariantRow(variant, ", ".join(dict.fromkeys(change for change in changes if change))))
    return rows


def _notable_proteins(calls: Calls | None) -> list[GeneCall]:
    """The proteins with a frameshift, a stop that the reference lacks, or an insertion."""
    return [gene for gene in calls.genes if gene.frameshifts or gene.stops or gene.insertions] if calls else []


def _digests(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Digests by what they are of: `referenceSha256` is said as `reference`."""
    words = {
        "referenceSha256": "reference",
        "genesSha256": "genes",
        "primersSha256": "primer scheme",
        "hostIndexSha256": "host index",
    }
    return {words.get(key, key): value for key, value in provenance.items() if key.endswith("Sha256") and value}


def load_ahead() -> None:
    """Compile the template, so that whoever is forked from this process need not."""
    _template()


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("readvault.reads.check", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
    environment.filters["percent"] = lambda value: f"{value:.2%}"
    environment.filters["shortened"] = lambda text: text if len(text) <= 24 else f"{text[:20]}… ({len(text)} bases)"
    environment.filters["measured"] = _measured
    environment.filters["in_words"] = _in_words
    return environment.get_template("report.html")


def _measured(value: float, metric: str) -> str:
    """The value of a metric as people read it: shares in percent, counts whole."""
    if metric.endswith("Fraction") or metric.startswith("breadth"):
        return f"{value:.2%}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _in_words(metric: str) -> str:
    """`breadthOfCoverage` as `breadth of coverage`, `breadthAt10x` as `breadth at 10x`."""
    return re.sub("([A-Z]|[0-9]+)", r" \1", metric).lower()
