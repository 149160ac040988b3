"""The report of one sample: one HTML file, readable without a network, the same bytes every time.

It is public after release, so it shows figures and sequence positions only: no file name of the submitter,
no read, no date, no host.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from readvault.domain.annotations import Annotation
from readvault.domain.organism import Organism
from readvault.domain.reports import (
    AlignmentReport,
    CheckReport,
    ConsensusReport,
    HostDepletionReport,
    ValidationReport,
)
from readvault.reads import coverage_plot
from readvault.reads.calls import Calls, Variant

MAX_VARIANTS = 300


def write_report(
    path: Path,
    *,
    sample_name: str,
    organism: Organism,
    validation: ValidationReport | None,
    depletion: HostDepletionReport | None,
    alignment: AlignmentReport | None,
    consensus: ConsensusReport | None,
    calls: Calls | None,
    check: CheckReport,
    provenance: Mapping[str, Any],
) -> None:
    """Write the report of a sample as one self-contained HTML file: verdict, figures, plots, tables, provenance."""
    steps = (validation, depletion, alignment, consensus)
    earlier = [warning for found in steps if found is not None for warning in found.warnings]
    plots = []
    if calls is not None and consensus is not None:
        plots = [coverage_plot.plot(call, calls.variants, min_depth=consensus.min_depth) for call in calls.segments]
    shown: list[Variant] = []
    hidden = 0
    if calls is not None and consensus is not None:
        shown, hidden = _worth_showing(calls.variants, consensus.min_depth)
    text = (
        _environment()
        .get_template("report.html")
        .render(
            sample_name=sample_name,
            organism=organism,
            validation=validation,
            depletion=depletion,
            alignment=alignment,
            consensus=consensus,
            check=check,
            determination=check.processed_metadata["qualityControlDetermination"],
            errors=_messages(check.errors),
            warnings=_messages((*earlier, *check.warnings)),
            plots=plots,
            layout=coverage_plot,
            variants=shown,
            hidden_variants=hidden,
            several_segments=len(plots) > 1,
            tools=dict(provenance.get("tools", {})),
            digests={key: value for key, value in provenance.items() if key.endswith("Sha256") and value},
            parameters=json.dumps(provenance.get("parameters", {}), indent=2, sort_keys=True),
        )
    )
    path.write_text(text, encoding="utf-8")


def _worth_showing(variants: tuple[Variant, ...], min_depth: int) -> tuple[list[Variant], int]:
    """The variants with enough evidence, or a majority of a sufficient depth; the VCF has the rest."""
    wanted = [v for v in variants if not v.filters or (v.frequency >= 0.5 and v.depth >= min_depth)][:MAX_VARIANTS]
    return wanted, len(variants) - len(wanted)


def _messages(annotations: tuple[Annotation, ...]) -> list[str]:
    """What submitters are told, without the names of their files."""
    return list(dict.fromkeys(annotation.message for annotation in annotations))


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("readvault.reads", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
    environment.filters["percent"] = lambda value: f"{value:.2%}"
    environment.filters["shortened"] = lambda text: text if len(text) <= 24 else f"{text[:20]}… ({len(text)} bases)"
    return environment
