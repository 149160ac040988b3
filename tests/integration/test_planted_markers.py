"""A thousand human markers in each hiding place of a submission, and a patient's name: none in any public byte."""

from __future__ import annotations

import json
import logging
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest

from readvault.domain.organism import Dehumanize, Organism, Pipeline, Reference
from readvault.local_job import LocalJob
from readvault.pipeline import run
from readvault.reads.dehumanize import host_index
from readvault.reads.sample import InputFile, Sample
from tests.integration import planted_markers as plant
from tests.unit.reads.fastq_maker import write

pytestmark = pytest.mark.slow

MACHINE = re.compile(r"(?m)^@?[A-Z0-9-]+:\d+:")
"""A sequencer's read name: instrument, run, flow cell."""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("host")
    return host_index.build(write(place / "host.fasta", f">host\n{plant.HOST}\n"), place / "host.idx").path


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return write(tmp_path / "virus.fasta", f">virus\n{plant.VIRUS}\n")


def _submitted(form: str, folder: Path, reference: Path) -> tuple[list[Path], dict[str, list[str]]]:
    places = plant.IN_FASTQ if form == "fastq" else plant.IN_ALIGNED
    pairs, markers = plant.planted(places)
    if form == "fastq":
        paths, in_headers = plant.write_fastq(folder, pairs)
    else:
        tagged, in_tags = plant.planted_tags()
        pairs, markers = pairs + tagged, markers | in_tags
        mode = {"bam": "wb", "sam": "w", "cram": "wc"}[form]
        path, in_headers = plant.write_aligned(folder / f"{plant.NAME}.{form}", mode, pairs, reference)
        paths = [path]
    return paths, markers | {"header of the file": in_headers}


def _public(out: Path) -> dict[str, str]:
    """All public text, by file: of `result.json` what a manifest publishes, not what the submitter alone reads."""
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    for key in ("errors", "warnings"):
        result.pop(key)
    files = {path.name: plant.all_text(path) for path in out.iterdir() if path.name != "result.json"}
    return files | {"result.json": json.dumps(result)}


@pytest.mark.parametrize(
    ("form", "publish"),
    [("fastq", "depleted"), ("fastq", "mappedOnly"), ("bam", "depleted"), ("sam", "depleted"), ("cram", "mappedOnly")],
)
def test_no_marker_and_no_name_is_in_any_public_byte(
    form: str,
    publish: Any,
    index: Path,
    reference: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    places = {name: tmp_path / name for name in ("in", "work", "out", "temporary")}
    for place in places.values():
        place.mkdir()
    paths, markers = _submitted(form, places["in"], reference)
    control = "\n".join(plant.all_text(path) + path.name for path in paths)
    assert len(markers) >= (9 if form == "fastq" else 30)
    assert plant.found(control, markers) == dict.fromkeys(markers, plant.EACH), "each can be found where it is planted"
    assert plant.NAME in control
    assert MACHINE.search(control)

    capfd.readouterr()

    monkeypatch.setattr(tempfile, "tempdir", str(places["temporary"]))
    rules = Pipeline(dehumanize=Dehumanize(publish=publish, max_human_fraction=1))
    organism = Organism(name="virus", reference=Reference(fasta=reference), pipeline=rules)
    inputs = tuple(InputFile(path, path.name) for path in paths)
    run(LocalJob(Sample("LOC_000001Y.1", organism, inputs, places["work"], host_index=index), places["out"]))

    printed = capfd.readouterr()
    result = json.loads((places["out"] / "result.json").read_text())
    assert result["errors"] == []
    public = _public(places["out"]) | {"log": caplog.text, "output": printed.out + printed.err}
    assert {"dehumanized_R1.fastq.gz", "dehumanized_R2.fastq.gz", "alignment.bam", "report.html"} <= set(public)
    for name, text in public.items():
        assert plant.found(text, markers) == dict.fromkeys(markers, 0), name
    assert [name for name, text in public.items() if plant.NAME in text or MACHINE.search(text)] == []
    assert list(places["temporary"].iterdir()) == []

    screen = result["metrics"]["dehumanize"]
    human, clean = (4, 3) if form == "fastq" else (8, 4)
    assert screen["reads_removed"] == 2 * plant.EACH * human
    assert screen["reads_too_short"] == 2 * plant.EACH
    assert screen["reads_kept"] == 2 * plant.EACH * clean
