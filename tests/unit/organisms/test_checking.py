"""`organisms check` tells every mistake at once, each with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from readvault.cli.main import app
from readvault.config import Settings, load_organism
from readvault.domain.errors import NotReady
from readvault.organisms import loading
from readvault.organisms.checking import Checked, check
from readvault.organisms.effective import as_yaml, by_content, effective
from readvault.organisms.findings import Level

SHIPPED = Path("deployments/organisms")
GOOD = "name: {name}\nreference: {{fasta: reference.fasta}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "reference.fasta").write_text(">chromosome\n" + "ACGT" * 30 + "\n")
    return tmp_path


def looked_at(folder: Path, *texts: str) -> Checked:
    for number, text in enumerate(texts):
        (folder / f"{number}.yaml").write_text(text)
    return check([folder], Settings(data_dir=folder / "data"))


def told(checked: Checked, level: Level = Level.ERROR) -> set[tuple[int, str]]:
    return {(finding.line, finding.key) for finding in checked.findings if finding.level is level}


def test_what_is_shipped_has_no_error() -> None:
    checked = check([SHIPPED], Settings())
    assert checked.errors == []
    assert len(checked.organisms) == len(list(SHIPPED.glob("*.yaml")))


def test_every_mistake_of_a_file_is_told_with_its_line(folder: Path) -> None:
    checked = looked_at(
        folder,
        """name: admin
refrence: {fasta: x}
reference: {fasta: nothing.fasta}
submission:
  files:
    rawReads: {maxFiles: 0, maxBytesPerFile: lots}
metadata:
  - {name: date, type: dat, required: true}
  - {name: files.x}
  - {name: country, requiredWhen: [nonsense]}
  - {name: age, type: int, range: [5, 1]}
  - {name: country}
pipeline:
  version: 0
  dehumanize: {index: x}
  qc:
    - {metric: medianDepht, warn: "< 10", message: x}
    - {metric: medianDepth, warn: low, message: x}
  outputs: [reports]
  platforms: {ILLUMINA: {minDepth: 1}, FOO: {}}
  version: 3
""",
    )
    assert told(checked) == {
        (1, "name"), (2, "refrence"), (3, "reference.fasta"), (6, "submission.files.rawReads.maxFiles"),
        (6, "submission.files.rawReads.maxBytesPerFile"), (8, "metadata[0].type"), (9, "metadata[1]"),
        (10, "metadata[2]"), (11, "metadata[3]"), (12, "metadata[4]"), (15, "pipeline.dehumanize"),
        (17, "pipeline.qc[0].metric"), (18, "pipeline.qc[1].warn"), (19, "pipeline.outputs[0]"),
        (20, "pipeline.platforms.FOO"), (21, "pipeline.version"),
    }  # fmt: skip
    advice = {finding.key: finding.advice for finding in checked.findings}
    assert advice["refrence"] == "Did you mean reference?"
    assert advice["pipeline.qc[0].metric"] == "Did you mean medianDepth?"
    assert checked.organisms == {}


def test_a_mistake_in_one_file_hides_none_in_another(folder: Path) -> None:
    checked = looked_at(folder, "name: [", GOOD.format(name="one"), "name: two\nreferenc: {}\n", "- a\n", "")
    assert {finding.file.name for finding in checked.errors} == {"0.yaml", "2.yaml", "3.yaml", "4.yaml"}
    assert set(checked.organisms) == {"one"}


def test_two_organisms_of_one_name_are_told(folder: Path) -> None:
    checked = looked_at(folder, GOOD.format(name="one"), "\n" + GOOD.format(name="one"))
    assert told(checked) == {(2, "name")}


@pytest.mark.parametrize(
    ("file", "content", "keys", "place", "words"),
    [
        ("genes.gff3", "chromosome\t.\tCDS\t1\t200\t.\t+\t0\tID=a\n", "", "reference.genes", "outside"),
        ("genes.gff3", "other\t.\tCDS\t1\t9\t.\t+\t0\tID=a\n", "", "reference.genes", "about other"),
        ("reference.fasta", ">a\nAC!T\n", "", "reference.fasta", "IUPAC"),
        ("p.bed", "x\t100\t300\tp_1_LEFT\n", "pipeline: {align: {primers: p.bed}}", "pipeline.align.primers", "line 1"),
        ("p.bed", "nonsense\n", "pipeline: {align: {primerSchemes: {s: p.bed}}}",
         "pipeline.align.primerSchemes.s", "no BED"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_told(
    folder: Path, file: str, content: str, keys: str, place: str, words: str
) -> None:
    (folder / "genes.gff3").write_text("chromosome\t.\tCDS\t1\t9\t.\t+\t0\tID=a\n")
    (folder / file).write_text(content)
    checked = looked_at(folder, f"name: a\nreference: {{fasta: reference.fasta, genes: genes.gff3}}\n{keys}\n")
    found = {finding.key: finding.message for finding in checked.errors}
    assert words in found[place]


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ("pipeline: {dehumanize: {off: cells without a person}}", "pipeline.dehumanize.off"),
        ("pipeline: {platforms: {ILLUMINA: {minDepth: 1}}}", "pipeline.platforms.ILLUMINA.minDepth"),
        ("pipeline: {platforms: {ILLUMINA: {minFrequency: 0}}}", "pipeline.platforms.ILLUMINA.minFrequency"),
        ("pipeline: {qc: {onError: label}}", "pipeline.qc.onError"),
        ("pipeline: {knownFrameshifts: ['ORF9:K1*']}", "pipeline.knownFrameshifts[0]"),
        ("metadata: [{name: a, required: true}, {name: b, requiredWhen: [a]}]", "metadata[1].requiredWhen"),
        ("metadata: [{name: totalReads}]", "metadata[0]"),
        ("submission: {consensusSequences: forbidden, files: {}}", "submission"),
        ("submission: {files: {x: {maxBytesPerFile: 900 TB}}}", "submission.files.x.maxBytesPerFile"),
        ("pipeline: {external: {mode: instead, metadata: [{name: clade, required: true}]}}",
         "pipeline.external.metadata[0]"),
        ("pipeline: {outputs: [variants]}", "pipeline.outputs"),
    ],
)  # fmt: skip
def test_what_is_legal_but_suspicious_is_a_warning(folder: Path, keys: str, place: str) -> None:
    checked = looked_at(folder, GOOD.format(name="a") + keys + "\n")
    assert checked.errors == []
    assert (3, place) in told(checked, Level.WARNING)


def test_an_index_is_pinned_but_not_there_or_another_one(folder: Path) -> None:
    digest = "0" * 64
    text = GOOD.format(name="a") + f"pipeline: {{dehumanize: {{index: host, sha256: '{digest}'}}}}\n"
    checked = looked_at(folder, text)
    assert (3, "pipeline.dehumanize.index") in told(checked, Level.WARNING)
    place = folder / "data" / "host-index" / "host.idx"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"another")
    assert "pipeline.dehumanize.index" in {finding.key for finding in looked_at(folder, text).findings}


def test_the_command_ends_with_1_and_speaks_json(folder: Path) -> None:
    (folder / "a.yaml").write_text(GOOD.format(name="a") + "nonsense: 1\n")
    result = CliRunner().invoke(app, ["organisms", "check", str(folder), "--json"])
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert (answer["ok"], answer["findings"][0]["line"], answer["findings"][0]["key"]) == (False, 3, "nonsense")
    (folder / "a.yaml").write_text(GOOD.format(name="a"))
    assert CliRunner().invoke(app, ["organisms", "check", str(folder)]).exit_code == 0
    assert CliRunner().invoke(app, ["organisms", "check", str(folder), "--strict"]).exit_code == 1
    assert CliRunner().invoke(app, ["organisms", "check", str(folder / "nowhere")]).exit_code == 1


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_shown_can_be_loaded_and_means_the_same(path: Path, tmp_path: Path) -> None:
    organism = load_organism(path)
    (tmp_path / "shown.yaml").write_text(as_yaml(organism))
    again = load_organism(tmp_path / "shown.yaml")
    assert effective(again) == effective(organism)
    assert by_content(again) == by_content(organism)


BOMBS = {
    "laughs": "a0: &a0 [x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20)),
    "merges": "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)),
    "cycle": "a: &a [*a]\n",
    "merged into itself": "a: &a\n  <<: *a\n",
    "brackets": "[" * 500 + "]" * 500,
    "digits": f"pipeline: {{version: {'9' * 5000}}}\n",
    "no date": "name: 2020-13-45\n",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_no_text_takes_all_memory_or_anything_but_a_mistake(folder: Path, text: str) -> None:
    assert [finding.line for finding in looked_at(folder, text).errors] == [1]
    with pytest.raises(NotReady, match="organism file"):
        load_organism(folder / "0.yaml")
    assert loading.files(folder) == [folder / "0.yaml"]


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (
            "metadata: [{name: date, type: date}, {name: E}]\npipeline: {silo: {aminoAcids: true}}",
            (3, "metadata[1].name"),
        ),
        ("metadata: [{name: E}]", None),  # without amino acids no gene is a key of a line
        ("metadata: [{name: main}]", (3, "metadata[0].name")),
        ("metadata: [{name: chromosome}]", None),  # the only segment is `main` there
        (
            "metadata: [{name: x}]\nexternalMetadata: [{name: main, externalMetadataUpdater: lab}]",
            (4, "externalMetadata[0].name"),
        ),
        ("metadata: [{name: main}]\nsiloExport: {metadata: []}", None),
        ("metadata: [{name: main}]\npipeline: {outputs: [report]}", None),
        ("metadata: [{name: place}]\nsiloExport: {locationName: place, metadata: []}", None),
    ],
)
def test_a_column_that_is_called_like_a_gene_or_segment_is_told(
    folder: Path, keys: str, found: tuple[int, str] | None
) -> None:
    (folder / "genes.gff3").write_text("chromosome\t.\tCDS\t1\t9\t.\t+\t0\tgene=E\n")
    checked = looked_at(folder, f"name: one\nreference: {{fasta: reference.fasta, genes: genes.gff3}}\n{keys}\n")
    assert told(checked) == ({found} if found else set())
    assert set(checked.organisms) == (set() if found else {"one"})


def test_a_segment_that_is_called_like_a_column_of_ours_is_told_at_the_reference(folder: Path) -> None:
    (folder / "reference.fasta").write_text(">sampleId\nACGTACGTAC\n>other\nACGTACGTACGT\n")
    checked = looked_at(folder, GOOD.format(name="one"))
    assert told(checked) == {(2, "reference.fasta")}
    assert "no reads can be exported" in checked.errors[0].message
