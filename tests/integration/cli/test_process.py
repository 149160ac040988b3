"""`readvault process` as people call it: exit status, files, and one clear line when something is off."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from readvault.cli.main import EXIT_USAGE, app
from readvault.reads.dehumanize import host_index
from readvault.reads.simulate import simulation

READ_LEVEL = {"dehumanized_R1.fastq.gz", "dehumanized_R2.fastq.gz", "alignment.bam", "alignment.bam.bai"} | {
    "reads.silo.ndjson.zst",
}
OTHERS = {"consensus.fasta", "variants.vcf.gz", "variants.vcf.gz.tbi", "coverage.tsv.gz", "allele_counts.tsv.gz"} | {
    "report.html",
    "metrics_mqc.json",
    "result.json",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an organism, a host index and reads."""
    folder = tmp_path_factory.mktemp("house")
    simulation.synthetic_reference(folder / "reference.fasta", segments=1)
    simulation.synthetic_host(folder / "host.fasta", length=20_000, seed=1)
    host_index.build(folder / "host.fasta", folder / "host.idx")
    simulation.simulate(
        folder / "reference.fasta", folder, pairs=400, length=100, seed=1, host=folder / "host.fasta", host_pairs=40
    )
    (folder / "organism.yaml").write_text("name: test\nreference: {fasta: reference.fasta}\n")
    return folder


def process(house: Path, out: Path, *options: object, reads: tuple[str, ...] = ("R1", "R2")) -> Result:
    files = [str(house / f"simulated_{mate}.fastq.gz") for mate in reads]
    organism = [] if "--organism" in options else ["--organism", str(house / "organism.yaml")]
    arguments = ["process", *organism, "--out", str(out), *map(str, options), *files]
    return CliRunner().invoke(app, arguments)


def names(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


def only_line(result: Result) -> str:
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if "DEHUMANIZED" not in line]
    assert line.startswith("readvault: ")
    return line


def test_all_files_come_with_an_index(house: Path, tmp_path: Path) -> None:
    result = process(house, tmp_path / "out", "--host-index", house / "host.idx")
    assert result.exit_code == 0
    assert names(tmp_path / "out") == READ_LEVEL | OTHERS
    content = json.loads((tmp_path / "out" / "result.json").read_text())
    assert content["screened"] is True
    assert content["metrics"]["dehumanize"]["reads_removed"] == 80
    assert {file["name"] for file in content["files"]} == (READ_LEVEL | OTHERS) - {"result.json"}


def test_without_an_index_no_reads_are_written_nor_left_from_before(house: Path, tmp_path: Path) -> None:
    """An earlier run's reads beside a result that says `not screened` would be taken for its own."""
    out = tmp_path / "out"
    process(house, out, "--host-index", house / "host.idx")
    result = process(house, out)
    assert result.exit_code == 0
    assert "NOTHING IS DEHUMANIZED: no host index. No file with reads is written." in result.stderr
    assert names(out) == OTHERS


def test_reads_are_written_unscreened_only_when_asked_for(house: Path, tmp_path: Path) -> None:
    result = process(house, tmp_path / "out", "--no-dehumanize")
    assert result.exit_code == 0
    assert "NOTHING IS DEHUMANIZED: --no-dehumanize was given." in result.stderr
    assert names(tmp_path / "out") == READ_LEVEL | OTHERS


def test_an_index_and_no_dehumanize_contradict_each_other(house: Path, tmp_path: Path) -> None:
    result = process(house, tmp_path / "out", "--no-dehumanize", "--host-index", house / "host.idx")
    assert result.exit_code == EXIT_USAGE
    assert "contradicts" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_failed_run_leaves_no_old_result(house: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process(house, out)
    assert process(house, out, reads=("R1", "R1")).exit_code == 2  # both files hold mate 1
    assert names(out) == {"result.json"}
    assert json.loads((out / "result.json").read_text())["processingResult"] == "HAS_ERRORS"


def test_outputs_never_replace_what_is_to_be_read(house: Path, tmp_path: Path) -> None:
    process(house, tmp_path, "--no-dehumanize")
    before = (tmp_path / "dehumanized_R1.fastq.gz").read_bytes()
    again = ["process", "--organism", str(house / "organism.yaml"), "--out", str(tmp_path), "--no-dehumanize"]
    mates = [str(tmp_path / f"dehumanized_R{mate}.fastq.gz") for mate in (1, 2)]
    assert "would replace" in only_line(CliRunner().invoke(app, [*again, *mates]))
    assert (tmp_path / "dehumanized_R1.fastq.gz").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no sequence"),
        ("ACGT\n", "no FASTA"),
        (">a\nAC\n>a\nAC\n", "given twice"),
        (">\nAC\n", "no name"),
        (">a\nAC!\n", "no IUPAC"),
    ],
)
def test_a_malformed_consensus_is_the_submitters_fault(house: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.fasta").write_text(text)
    result = process(house, tmp_path / "out", "--consensus", tmp_path / "mine.fasta")
    assert result.exit_code == 2
    assert message in result.stderr
    (fault,) = json.loads((tmp_path / "out" / "result.json").read_text())["errors"]
    assert fault["reason"] == "invalidConsensus"


def test_what_is_no_file_is_one_clear_line(house: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "File exists" in only_line(process(house, tmp_path / "file"))
    assert "no such file" in only_line(process(house, tmp_path / "out", reads=("R3",)))
    assert "no primer scheme" in only_line(process(house, tmp_path / "out", "--primers", tmp_path / "none.bed"))
    assert "no host index" in only_line(process(house, tmp_path / "out", "--host-index", tmp_path / "none.idx"))
    (tmp_path / "bad.idx").write_bytes(b"nonsense")
    assert "host index" in only_line(process(house, tmp_path / "out", "--host-index", tmp_path / "bad.idx"))
    (house / "simulated_D.fastq.gz").mkdir(exist_ok=True)
    assert "no files of reads" in only_line(process(house, tmp_path / "out", reads=("D",)))
    os.mkfifo(tmp_path / "pipe.fastq")
    assert "no regular file" in only_line(process(house, tmp_path / "out", tmp_path / "pipe.fastq", reads=()))


@pytest.mark.parametrize("name", ["", "two words", "a\n>b", "../up", "<b>", "é"])
def test_a_name_that_would_break_an_output_is_refused(house: Path, tmp_path: Path, name: str) -> None:
    assert process(house, tmp_path / "out", "--name", name).exit_code == EXIT_USAGE
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mapping"),
        ("name: [", "line 1"),
        ("name: a\nname: b\nreference: {fasta: reference.fasta}", "twice"),
        ("name: a\nrefrence: {fasta: reference.fasta}", "refrence: unknown key"),
        ("name: a\nreference: {fasta: none.fasta}", "there is no file"),
        ("name: a\nreference: {fasta: organism.yaml}", "reference"),
        ("name: a\nreference: reference.fasta", "reference: must be a mapping"),
        (
            "name: a\nreference: {fasta: reference.fasta}\npipeline: {platforms: {ILLUMINA: {minDepth: many}}}",
            "pipeline.platforms.ILLUMINA.minDepth: ",
        ),
    ],
)
def test_a_mistake_in_the_organisms_file_is_one_clear_line(
    house: Path, tmp_path: Path, text: str, message: str
) -> None:
    (house / "mistaken.yaml").write_text(text)
    line = only_line(process(house, tmp_path / "out", "--organism", house / "mistaken.yaml"))
    assert message in line
    assert "pydantic" not in line


def test_a_consensus_that_the_organism_forbids_is_refused(house: Path, tmp_path: Path) -> None:
    rules = tmp_path / "organism.yaml"
    reference = house / "reference.fasta"
    rules.write_text(f"name: test\nreference: {{fasta: {reference}}}\nsubmission: {{consensusSequences: forbidden}}\n")
    result = process(house, tmp_path / "out", "--organism", rules, "--consensus", reference)
    assert result.exit_code == EXIT_USAGE
    assert "takes no consensus" in result.stderr
    assert not (tmp_path / "out").exists()
