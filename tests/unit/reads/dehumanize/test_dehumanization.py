"""Human reads leave, with their mates; what was not screened never passes for screened."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from readvault.domain.annotations import Reason
from readvault.domain.errors import InvalidSubmission, ProcessingFailure
from readvault.domain.organism import Dehumanize
from readvault.domain.reads import LibraryLayout, Platform
from readvault.domain.reports import HostDepletionReport
from readvault.reads.dehumanize import host_index
from readvault.reads.dehumanize.dehumanization import dehumanize
from readvault.reads.sample import ReadFiles
from tests.unit.reads.fastq_maker import bases, record, records_of, write

HOST = bases(20_000, seed=77)
VIRUS = bases(20_000, seed=78)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("host")
    return host_index.build(write(place / "host.fasta", f">h\n{HOST}\n"), place / "host.idx").path


def reads_of(*files: tuple[Path, ...] | Path) -> ReadFiles:
    lanes = [file if isinstance(file, tuple) else (file,) for file in files]
    layout = LibraryLayout.PAIRED if len(lanes[0]) == 2 else LibraryLayout.SINGLE
    second = tuple(lane[1] for lane in lanes) if layout is LibraryLayout.PAIRED else ()
    return ReadFiles(Platform.ILLUMINA, layout, tuple(lane[0] for lane in lanes), second)


def run(
    reads: ReadFiles, index: Path | None, directory: Path, rules: Dehumanize | None = None, **more: Any
) -> tuple[ReadFiles, HostDepletionReport]:
    directory.mkdir(exist_ok=True, parents=True)
    options = {"publish_unscreened": False, "threads": 2} | more
    return dehumanize(reads, index, rules=rules or Dehumanize(), directory=directory, **options)


def single(path: Path, sequences: list[str]) -> Path:
    return write(path, "".join(record(f"Patient_Smith:{n} x", s) for n, s in enumerate(sequences)))


def test_the_human_pairs_of_a_real_mixture_leave_and_the_viral_ones_stay(
    shared_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """At least 498 of 499 human pairs go, at most one viral pair is lost; nothing is printed."""
    data = shared_data / "dev"
    built = host_index.build(data / "human" / "human_chr22_40kb.fasta.gz", tmp_path / "human.idx")
    mates = tuple(data / "sc2_spiked_human" / f"spiked_R{mate}.fastq.gz" for mate in (1, 2))
    human = set((data / "sc2_spiked_human" / "truth_human_read_names.txt").read_text().split())
    found, report = run(reads_of(mates), built.path, tmp_path / "out")
    assert capfd.readouterr() == ("", "")
    for source, result in zip(mates, (*found.r1, *found.r2), strict=True):
        original = records_of(source)
        human_reads = {r[1] for r in original if re.sub("/[12]$", "", r[0][1:].split()[0]) in human}
        kept = records_of(result)
        assert sum(r[1] in human_reads for r in kept) <= 1
        assert len(original) - 499 - 1 <= len(kept) <= len(original) - 498
        assert [r[0] for r in kept] == [f"@{n}" for n in range(1, len(kept) + 1)]
        assert {r[2] for r in kept} == {"+"}
    assert report.reads_in == 2 * 5492
    assert 2 * 498 <= report.reads_removed <= 2 * 500
    assert report.reads_in == report.reads_kept + report.reads_removed + report.reads_too_short
    assert report.human_fraction == report.reads_removed / report.reads_in
    assert (report.screened, report.index_sha256, report.warnings) == (True, built.sha256, ())


def test_mates_leave_together_whichever_is_human_or_too_short(tmp_path: Path, index: Path) -> None:
    human, viral, short = HOST[500:600], VIRUS[500:600], VIRUS[:44]
    unknown = ("A" * 40 + "N") * 3
    pairs = [
        (viral, viral),
        (human, viral),
        (viral, human),
        (short, viral),
        (viral, short),
        (viral, unknown),
        (viral, VIRUS[:45]),
    ]
    mates = (
        single(tmp_path / "1.fastq", [one for one, _ in pairs]),
        single(tmp_path / "2.fastq.gz", [two for _, two in pairs]),
    )
    found, report = run(reads_of(mates), index, tmp_path / "out")
    assert [r[:2] for r in records_of(found.r1[0])] == [["@1", viral], ["@2", viral]]
    assert [r[:2] for r in records_of(found.r2[0])] == [["@1", viral], ["@2", VIRUS[:45]]]
    assert (report.reads_in, report.reads_kept, report.reads_removed, report.reads_too_short) == (14, 4, 4, 6)
    assert report.bases_removed == 400
    assert [warning.reason for warning in report.warnings] == [Reason.UNSCREENABLE_READS]


def test_one_hit_is_enough_for_short_reads_and_a_piece_of_host_for_long_ones(tmp_path: Path, index: Path) -> None:
    short = [HOST[start : start + 45] for start in range(0, 4500, 45)]
    chimeras = [
        VIRUS[start : start + 60] + HOST[start : start + 45] + VIRUS[start : start + 60] for start in range(0, 900, 90)
    ]
    long = [VIRUS[:4000] + HOST[:600] + VIRUS[5000:9000], VIRUS[:9000]]
    found, report = run(reads_of(single(tmp_path / "x.fastq", short + chimeras + long)), index, tmp_path / "out")
    assert [r[1] for r in records_of(found.r1[0])] == [VIRUS[:9000]]
    assert report.reads_removed == len(short) + len(chimeras) + 1


@pytest.mark.parametrize(
    ("length", "error", "recall"), [(50, 0.0, 0.999), (75, 0.01, 0.92), (150, 0.01, 0.998), (150, 0.03, 0.95)]
)
def test_most_human_reads_with_errors_are_found(
    tmp_path: Path, index: Path, length: int, error: float, recall: float
) -> None:
    chance = random.Random(length)
    starts = [chance.randrange(len(HOST) - length) for _ in range(1500)]
    reads = [
        "".join(b if chance.random() >= error else "ACGT"[("ACGT".index(b) + 1) % 4] for b in HOST[s : s + length])
        for s in starts
    ]
    _, report = run(
        reads_of(single(tmp_path / "x.fastq", [*reads, VIRUS[:200]])),
        index,
        tmp_path / "out",
        Dehumanize(max_human_fraction=1),
    )
    assert report.reads_removed >= recall * 1500


def test_several_files_are_one_stream_and_bytes_depend_on_reads_alone(tmp_path: Path, index: Path) -> None:
    """Cut into files, packed differently, run with other threads: the same bytes come out."""
    chance = random.Random(5)
    reads = [(HOST if n % 7 == 0 else VIRUS)[(s := chance.randrange(19_000)) : s + 120] for n in range(9000)]
    whole = single(tmp_path / "whole.fastq.gz", reads)
    parts = (single(tmp_path / "a.fastq", reads[:4000]), single(tmp_path / "b.fastq.gz", reads[4000:]))
    one, report = run(reads_of(whole), index, tmp_path / "one", threads=1)
    two, other = run(reads_of(*parts), index, tmp_path / "two", threads=2)
    assert one.r1[0].read_bytes() == two.r1[0].read_bytes()
    assert report == other
    assert [r[1] for r in records_of(one.r1[0])] == [read for n, read in enumerate(reads) if n % 7]


def test_no_name_of_the_submitters_is_in_any_byte_that_is_left(tmp_path: Path, index: Path) -> None:
    source = single(tmp_path / "Smith.fastq", [VIRUS[:100]] * 3 + [HOST[:100]])
    found, _ = run(reads_of(source), index, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dehumanized.fastq.gz"]
    packed = found.r1[0].read_bytes()
    assert packed[3] == 4, "the gzip header has the extra field of BGZF alone, no name"
    assert packed[4:8] == b"\0\0\0\0", "the gzip header has no time"
    assert "Smith" not in "".join(line for r in records_of(found.r1[0]) for line in r)


@pytest.mark.parametrize("publish", [False, True])
def test_without_an_index_all_reads_pass_renamed_and_the_report_says_so(tmp_path: Path, publish: bool) -> None:
    reads = [HOST[:100], VIRUS[:20], VIRUS[:100]]
    mates = (single(tmp_path / "1.fastq.gz", reads), single(tmp_path / "2.fastq", reads))
    found, report = run(reads_of(mates), None, tmp_path / "out", publish_unscreened=publish)
    for path in (*found.r1, *found.r2):
        assert [r[:2] for r in records_of(path)] == [[f"@{n}", read] for n, read in enumerate(reads, start=1)]
    assert (report.screened, report.index_sha256, report.reads_removed) == (False, None, 0)
    assert [warning.reason for warning in report.warnings] == [Reason.UNSCREENABLE_READS]
    off = Dehumanize(off="reads of a cell culture")
    assert run(reads_of(mates), None, tmp_path / "off", off)[1].warnings == ()


def test_too_many_human_reads_warn_or_refuse_as_the_rules_say(tmp_path: Path, index: Path) -> None:
    reads = reads_of(single(tmp_path / "x.fastq", [HOST[:100], HOST[100:200], VIRUS[:100]]))
    _, report = run(reads, index, tmp_path / "out")
    assert [warning.reason for warning in report.warnings] == [Reason.TOO_MUCH_HUMAN]
    assert "66.7%" in report.warnings[0].message
    with pytest.raises(InvalidSubmission) as refusal:
        run(reads, index, tmp_path / "out", Dehumanize(above="reject"))
    assert [fault.reason for fault in refusal.value.annotations] == [Reason.TOO_MUCH_HUMAN]


def test_a_sample_of_which_nothing_is_left_is_refused(tmp_path: Path, index: Path) -> None:
    reads = reads_of(single(tmp_path / "x.fastq", [HOST[:100], VIRUS[:30]]))
    with pytest.raises(InvalidSubmission) as refusal:
        run(reads, index, tmp_path / "out")
    assert Reason.NO_READS_LEFT in {fault.reason for fault in refusal.value.annotations}


# ------------------------------------------------------------------ it fails closed


def test_another_index_than_the_pinned_one_screens_nothing(tmp_path: Path, index: Path) -> None:
    reads = reads_of(single(tmp_path / "x.fastq", [VIRUS[:100]]))
    pinned = Dehumanize(index="panhuman", sha256="0" * 64)
    with pytest.raises(ProcessingFailure):
        run(reads, index, tmp_path / "out", pinned)
    with pytest.raises(ProcessingFailure):
        run(reads, tmp_path / "no-such.idx", tmp_path / "out")
    assert run(reads, index, tmp_path / "out", Dehumanize(index="x", sha256=host_index.digest(index)))[1].screened


def test_reads_that_deacon_refuses_are_our_failure_and_no_hanging(tmp_path: Path, index: Path) -> None:
    uneven = (single(tmp_path / "1.fastq", [VIRUS[:100]] * 3), single(tmp_path / "2.fastq", [VIRUS[:100]] * 2))
    cut = write(tmp_path / "cut.fastq", record("a", VIRUS[:100])[:-50])
    for reads in (reads_of(uneven), reads_of(cut), reads_of(tmp_path / "absent.fastq")):
        with pytest.raises(ProcessingFailure) as failure:
            run(reads, index, tmp_path / "out")
        assert str(tmp_path) not in str(failure.value)


class _Lying:
    """deacon, but one count is off."""

    def __init__(self, index: Any, change: dict[str, int]) -> None:
        self.index, self.change = index, change

    def filter(self, *args: Any, **options: Any) -> dict[str, int]:
        summary: dict[str, int] = self.index.filter(*args, **options)
        return summary | {key: summary[key] + by for key, by in self.change.items()}


@pytest.mark.parametrize("key", ["seqs_in", "seqs_out", "seqs_removed", "bp_in"])
def test_counts_that_do_not_add_up_are_our_failure(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    real = host_index.load(index)
    monkeypatch.setattr(host_index, "load", lambda path: _Lying(real, {key: 1}))
    with pytest.raises(ProcessingFailure, match="accounted"):
        run(reads_of(single(tmp_path / "x.fastq", [VIRUS[:100], HOST[:100]])), index, tmp_path / "out")


def test_a_pair_of_very_different_lengths_does_not_block_the_pipes(tmp_path: Path, index: Path) -> None:
    mates = (single(tmp_path / "1.fastq", [VIRUS[:5000]] * 900), single(tmp_path / "2.fastq", [VIRUS[:50]] * 900))
    _, report = run(reads_of(mates), index, tmp_path / "out")
    assert report.reads_kept == 1800
