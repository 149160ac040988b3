"""A thinned FASTQ holds every n-th record, however the files and their blocks are cut."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from readvault.reads.align import fastq_sample


def _record(number: int) -> bytes:
    return b"@%d\n%s\n+\n%s\n" % (number, b"ACGT" * (number % 7 + 1), b"FFFF" * (number % 7 + 1))


@pytest.mark.parametrize("every", [1, 2, 7, 100])
@pytest.mark.parametrize("chunk", [16, 4 << 20])
def test_every_nth_record_over_all_files_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, chunk: int
) -> None:
    monkeypatch.setattr(fastq_sample, "_CHUNK", chunk)
    records = [_record(number) for number in range(50)]
    (tmp_path / "a.fastq").write_bytes(b"".join(records[:23]).rstrip(b"\n"))
    (tmp_path / "b.fastq.gz").write_bytes(gzip.compress(b"".join(records[23:])))
    count = fastq_sample.write_every((tmp_path / "a.fastq", tmp_path / "b.fastq.gz"), every, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"".join(records[::every])
    assert count == len(records[::every])
