"""Bombs at their real sizes, a line of 500 million characters, a thousand files: an answer soon, in little room."""

from __future__ import annotations

import gzip
import resource
import time
from pathlib import Path

import pytest
import zstandard

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import InvalidSubmission
from readvault.domain.organism import FileCategory
from readvault.domain.reads import LibraryLayout
from readvault.reads.sample import InputFile
from readvault.reads.validate.validation import validate
from tests.data.bad_inputs.row import bgzf
from tests.unit.reads.fastq_maker import reads, records_of

MEMORY = 600_000  # kB that validation may add


def refused(folder: Path, *files: Path) -> tuple[Annotation, ...]:
    (scratch := folder / "scratch").mkdir(exist_ok=True)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(InvalidSubmission) as refusal:
        validate([InputFile(f, f.name) for f in files], rules=FileCategory(), platform=None, directory=scratch)
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY
    assert sum(path.stat().st_size for path in scratch.iterdir()) < 300_000_000
    return refusal.value.annotations


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("x.fastq.gz", lambda data: gzip.compress(data, 1)),
        ("x.fastq.zst", zstandard.ZstdCompressor(level=1).compress),
        ("x.fastq.bgz", lambda data: bgzf(data[:65_000], size=65_000, end=False) * (len(data) // 65_000)),
        ("x.sam.gz", lambda data: gzip.compress(data, 1)),
    ],
)
def test_a_bomb_of_its_real_size_is_stopped(tmp_path: Path, name: str, pack: object) -> None:
    if "sam" in name:
        line = b"r%08d\t4\t*\t0\t0\t*\t*\t0\t0\t" + b"N" * 5000 + b"\t" + b"F" * 5000 + b"\n"
        content = b"@HD\tVN:1.6\n" + b"".join(line % n for n in range(10_000))
    else:
        content = b"".join(b"@r%08d\n%s\n+\n%s\n" % (n, b"N" * 5000, b"F" * 5000) for n in range(10_000))
    path = tmp_path / name
    path.write_bytes(pack(content))  # type: ignore[operator]
    reasons = {fault.reason for fault in refused(tmp_path, path)}
    assert reasons & {Reason.COMPRESSION_BOMB, Reason.DUPLICATE_READ_NAME, Reason.MALFORMED_RECORD}
    assert Reason.COMPRESSION_BOMB in reasons or "bgz" in name


def test_a_line_of_500_million_characters_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.fastq"
    with path.open("wb") as file:
        file.write(b"@a\nACGT\n+\nFFFF\n@b\n")
        for _ in range(500):
            file.write(b"A" * 1_000_000)
    [fault] = refused(tmp_path, path)
    assert (fault.reason, fault.record, fault.line) == (Reason.RECORD_TOO_LONG, 2, 6)


def test_five_hundred_lanes_are_one_sample_in_the_order_of_cat(tmp_path: Path) -> None:
    """The 1,000 files that a sample may have: as if R1 and R2 had each been put together with `cat`."""
    inputs = []
    for lane in range(500):
        for mate in (2, 1):
            path = tmp_path / f"S1_S7_L{lane // 100 + 1:03}_R{mate}_{lane % 100 + 1:03}.fastq"
            path.write_text(reads(2, name=f"M1:7:FC:{lane}:1101:10:{{}} {mate}:N:0:AC", seed=lane * 2 + mate))
            inputs.append(InputFile(path, f"run/{path.name}"))
    found, report = validate(inputs[::-1], rules=FileCategory(), platform=None, directory=tmp_path)
    assert (found.layout, report.reads, len(found.r1)) == (LibraryLayout.PAIRED, 2000, 500)
    for mate, files in ((1, found.r1), (2, found.r2)):
        together = [record for path in files for record in records_of(path)]
        assert [record[0] for record in together] == [
            f"@M1:7:FC:{lane}:1101:10:{n} {mate}:N:0:AC" for lane in range(500) for n in (1, 2)
        ]


def test_barcode_folders_of_a_nanopore_run_are_one_stream(tmp_path: Path) -> None:
    inputs = []
    for chunk in (10, 2, 0, 1):
        path = tmp_path / f"chunk{chunk}"
        path.write_text(reads(3, name=f"0b1e2639-bd29-4837-a33d-7f35c8{chunk:02}" + "{:04d} runid=ab12", seed=chunk))
        inputs.append(InputFile(path, f"fastq_pass/barcode07/FAX72834_pass_barcode07_a3787181_{chunk}.fastq"))
    found, report = validate(inputs, rules=FileCategory(), platform=None, directory=tmp_path)
    assert [path.name for path in found.r1] == ["chunk0", "chunk1", "chunk2", "chunk10"]
    assert (found.layout, report.reads) == (LibraryLayout.SINGLE, 12)
