"""Released reads are looked up in a newer index: every read counted, nothing written, no doubt let through."""

from __future__ import annotations

from pathlib import Path

import pysam
import pytest

from readvault.domain.errors import ProcessingFailure
from readvault.domain.organism import Dehumanize, Organism, Pipeline, Reference, Rescreen
from readvault.domain.reports import ScreeningReport
from readvault.reads.dehumanize import host_index
from readvault.reads.dehumanize.rescreening import rescreen
from readvault.reads.local_run import LocalRun
from readvault.reads.sample import InputFile, Sample
from tests.unit.reads.fastq_maker import bases, record, reverse_complement, write

HOST = bases(20_000, seed=77)
VIRUS = bases(20_000, seed=78)
SHORT = bases(40, seed=79)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("host")
    return host_index.build(write(place / "host.fasta", f">h\n{HOST}\n"), place / "host.idx").path


def sample(folder: Path, index: Path | None, *inputs: InputFile, sha256: str | None = None) -> Sample:
    fasta = write(folder / "reference.fasta", f">main\n{VIRUS}\n")
    pinned = sha256 or (host_index.digest(index) if index else "0" * 64)
    rules = Dehumanize(index="host", sha256=pinned)
    organism = Organism(name="virus", reference=Reference(fasta=fasta), pipeline=Pipeline(dehumanize=rules))
    return Sample("LOC_1.1", organism, inputs, folder, host_index=index)


def fastq(path: Path, sequences: list[str], category: str = "dehumanizedReads") -> InputFile:
    text = "".join(record(str(number), sequence) for number, sequence in enumerate(sequences, start=1))
    return InputFile(write(path, text), path.name, category)


def test_the_planted_reads_of_a_single_file_are_counted(tmp_path: Path, index: Path) -> None:
    sequences = [VIRUS[n : n + 100] for n in range(300)] + [HOST[n * 50 : n * 50 + 100] for n in range(7)] + [SHORT]
    one = sample(tmp_path, index, fastq(tmp_path / "dehumanized.fastq.gz", sequences))
    before = (tmp_path / "dehumanized.fastq.gz").read_bytes()
    assert rescreen(one, tmp_path) == ScreeningReport(host_index.digest(index), 308, 7, 1)
    assert (tmp_path / "dehumanized.fastq.gz").read_bytes() == before
    assert not list(tmp_path.glob("deacon*"))


def test_mates_are_looked_up_and_counted_together(tmp_path: Path, index: Path) -> None:
    first = [VIRUS[n : n + 100] for n in range(50)]
    second = [reverse_complement(VIRUS[n + 200 : n + 300]) for n in range(49)] + [HOST[:100]]
    mates = [fastq(tmp_path / f"dehumanized_R{n}.fastq.gz", reads) for n, reads in ((1, first), (2, second))]
    run = LocalRun(sample(tmp_path, index, *mates))
    assert run.run("screen") == ScreeningReport(host_index.digest(index), 100, 2, 0)


def bam(path: Path, reads: list[tuple[str, int]]) -> InputFile:
    """A BAM of ours: pairs and single reads, mapped or not, with secondary lines that are no further reads."""
    header = pysam.AlignmentHeader.from_dict({"HD": {"VN": "1.6"}, "SQ": [{"SN": "main", "LN": len(VIRUS)}]})
    with pysam.AlignmentFile(str(path), "wb", header=header) as out:
        for number, (sequence, flag) in enumerate(reads, start=1):
            line = pysam.AlignedSegment(header)
            line.query_name, line.query_sequence, line.flag = str(number), sequence, flag
            line.query_qualities = pysam.qualitystring_to_array("F" * len(sequence))
            if not flag & 4:
                line.reference_id, line.reference_start, line.cigarstring = 0, 10, f"{len(sequence)}M"
            out.write(line)
    return InputFile(path, path.name, "alignment")


def test_every_read_of_a_bam_is_counted_once(tmp_path: Path, index: Path) -> None:
    of_host, of_virus = HOST[500:600], VIRUS[500:600]
    reads = [(of_virus, 0), (of_virus, 0x41), (of_host, 0x81), (of_host, 4), (of_virus, 0x45), (of_virus, 16)]
    reads += [(of_host, 0x100), (of_host, 0x800)]
    one = sample(tmp_path, index, bam(tmp_path / "alignment.bam", reads))
    assert rescreen(one, tmp_path) == ScreeningReport(host_index.digest(index), 6, 2, 0)


def test_an_empty_bam_has_no_hits(tmp_path: Path, index: Path) -> None:
    one = sample(tmp_path, index, bam(tmp_path / "alignment.bam", []))
    assert rescreen(one, tmp_path) == ScreeningReport(host_index.digest(index), 0, 0, 0)


def test_without_the_pinned_index_nothing_is_said(tmp_path: Path, index: Path) -> None:
    reads = fastq(tmp_path / "dehumanized.fastq.gz", [VIRUS[:100]])
    with pytest.raises(ProcessingFailure, match="no host index"):
        rescreen(sample(tmp_path, None, reads), tmp_path)
    with pytest.raises(ProcessingFailure, match="SHA-256"):
        rescreen(sample(tmp_path, index, reads, sha256="1" * 64), tmp_path)


def test_what_is_not_the_reads_of_one_result_is_refused(tmp_path: Path, index: Path) -> None:
    reads = [fastq(tmp_path / f"{n}.fastq.gz", [VIRUS[:100]]) for n in range(3)]
    aligned = bam(tmp_path / "alignment.bam", [])
    for inputs in ((), reads, (reads[0], aligned), (aligned, aligned)):
        with pytest.raises(ProcessingFailure, match="not the reads of one result"):
            rescreen(sample(tmp_path, index, *inputs), tmp_path)


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-40], lambda text: text.replace("+\n", "", 1)], ids=["cut", "odd"]
)
def test_broken_reads_are_no_screen(tmp_path: Path, index: Path, damage: object) -> None:
    text = "".join(record(str(number), VIRUS[number : number + 100]) for number in range(1, 20))
    broken = write(tmp_path / "dehumanized.fastq", damage(text))  # type: ignore[operator]
    one = sample(tmp_path, index, InputFile(broken, "dehumanized.fastq", "dehumanizedReads"))
    with pytest.raises(ProcessingFailure):
        rescreen(one, tmp_path)


def test_mates_that_are_not_in_step_are_no_screen(tmp_path: Path, index: Path) -> None:
    mates = [fastq(tmp_path / f"R{n}.fastq.gz", [VIRUS[:100]] * count) for n, count in ((1, 5), (2, 4))]
    with pytest.raises(ProcessingFailure):
        rescreen(sample(tmp_path, index, *mates), tmp_path)


@pytest.mark.parametrize(
    ("limits", "hits", "reads", "over"),
    [
        (Rescreen(), 0, 1, False),
        (Rescreen(), 1, 9_999, True),
        (Rescreen(), 1, 10_000, False),
        (Rescreen(), 10, 10**9, False),
        (Rescreen(), 11, 10**9, True),
        (Rescreen(max_human_reads=0), 1, 10**9, True),
        (Rescreen(max_human_reads=999, max_human_fraction=0.002), 2, 1000, False),
        (Rescreen(max_human_reads=999, max_human_fraction=0.002), 3, 1000, True),
        (Rescreen(), 0, 0, False),
    ],
    ids=str,
)
def test_one_limit_is_enough(limits: Rescreen, hits: int, reads: int, over: bool) -> None:
    assert limits.is_over(hits, reads) is over
