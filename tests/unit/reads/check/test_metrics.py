"""The metrics are what docs/metrics.md says, in a shape that MultiQC takes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.organism import Organism
from readvault.domain.reports import Amplicon, SegmentCoverage
from readvault.reads import references
from readvault.reads.call.calls import GeneCall, Variant
from readvault.reads.check import metrics, qc
from readvault.reads.check.metrics import Metrics
from readvault.reads.sample import Sample
from tests.unit.reads.check.test_qc import GENOME, alignment, calls, consensus, depletion, validation

DOCS = Path(__file__).parents[4] / "docs" / "metrics.md"


@pytest.fixture
def organism(tmp_path: Path) -> Organism:
    (tmp_path / "reference.fasta").write_text(f">genome\n{GENOME}\n")
    return Organism.model_validate({"name": "virus", "reference": {"fasta": tmp_path / "reference.fasta"}})


def written(path: Path, organism: Organism, **found: Any) -> dict[str, Any]:
    sample = Sample("LOC_000001Y.1", organism, (), Path())
    reference = references.only(organism)
    assert reference is not None
    findings = qc.Findings(**found)
    check = qc.check(sample, reference, findings)
    check = replace(check, amplicons=(Amplicon("tiled_1", "genome", 24, 376, 0.0, True),)) if found else check
    metrics.write_metrics(path, metrics.collect(sample, findings, check))
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def everything() -> dict[str, Any]:
    warning = Annotation(Reason.QUALITY_ENCODING, "patient_smith.fastq has odd qualities.", file="patient_smith.fastq")
    passed = Variant("genome", 7, "A", "C", 100, (30, 30, 20, 20), 0.4, (0.3, 0.5), 99.0, ())
    called = replace(
        calls(),
        variants=(passed, replace(passed, filters=("LowDepth",))),
        genes=(GeneCall("S", "genome", "MX*", ("2:A",), ("S:T5fs",), ()),),
    )
    segments = (SegmentCoverage("genome", len(GENOME), 100.0, 98.0, 0.99),)
    return {
        "validation": replace(validation(), warnings=(warning,)), "depletion": depletion(), "alignment": alignment(),
        "consensus": consensus(segments=segments, variants=2), "calls": called,
    }  # fmt: skip


def test_the_figures_of_every_step_are_there(tmp_path: Path, organism: Organism) -> None:
    content = written(tmp_path / "m.json", organism, **everything())
    found = content["readvault"]
    assert Metrics.model_validate(found).schema_version == 1
    assert (found["sample"], found["organism"]) == ("LOC_000001Y.1", "virus")
    assert found["validation"]["reads"] == 1000
    assert found["dehumanization"]["readsRemoved"] == 50
    assert found["alignment"]["mappedReads"] == 900
    assert (found["consensus"]["variants"], found["consensus"]["passedVariants"]) == (2, 1)
    assert found["segments"][0]["medianDepth"] == 98.0
    assert found["amplicons"][0]["dropped"] is True
    assert found["genes"][0]["frameshifts"] == ["S:T5fs"]
    rules = {rule["metric"]: rule for rule in found["qualityControl"]["rules"]}
    assert rules["mappedReads"] == {"metric": "mappedReads", "value": 900, "limit": "error < 100", "verdict": "pass"}
    assert found["qualityControl"]["determination"] == "WARN"
    assert "smith" not in (tmp_path / "m.json").read_text()


def test_it_is_custom_content_of_multiqc(tmp_path: Path, organism: Organism) -> None:
    """A file that ends in `_mqc.json`, with an id, a known type of plot, a row and headers for all its columns."""
    assert metrics.FILE_NAME.endswith("_mqc.json")
    content = written(tmp_path / "m.json", organism, **everything())
    assert (content["id"], content["plot_type"]) == ("readvault", "generalstats")
    row = content["data"]["LOC_000001Y.1"]
    assert (row["mappedPercent"], row["humanPercent"], row["verdict"]) == (94.7368, 5.0, "WARN")
    assert row.keys() == {name for header in content["pconfig"] for name in header}


def test_steps_that_were_not_done_are_null(tmp_path: Path, organism: Organism) -> None:
    content = written(tmp_path / "m.json", organism)
    assert content["readvault"]["alignment"] is None
    assert content["readvault"]["segments"] == []
    assert content["data"] == {"LOC_000001Y.1": {"verdict": "PASS"}}


def test_the_same_findings_give_the_same_bytes(tmp_path: Path, organism: Organism) -> None:
    for name in ("a", "b"):
        written(tmp_path / name, organism, **everything())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_metric_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    schema = Metrics.model_json_schema(by_alias=True)
    parts = [schema, *schema["$defs"].values()]
    names = {name for part in parts for name in part.get("properties", {})}
    assert len(names) > 40
    assert {name for name in names if f"`{name}`" not in text} == set()
    assert str(metrics.SCHEMA_VERSION) in re.findall(r"now ([0-9]+)", text)
