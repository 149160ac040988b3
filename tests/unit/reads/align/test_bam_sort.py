"""Records come back in order, from memory and from disk; BGZF is read by everybody."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np
import pysam
import pytest

from readvault.reads.align.bam_sort import RecordSorter
from readvault.reads.bgzf import BgzfWriter


@pytest.mark.parametrize("run_bytes", [700, 20_000, 1 << 20])
def test_records_are_ordered_by_key_and_equal_keys_as_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_bytes: int
) -> None:
    monkeypatch.setattr("readvault.reads.align.bam_sort._MERGED_RECORDS", 1)
    dice = random.Random(3)
    records = [(dice.randrange(3000), b"%d;" % number) for number in range(4000)]
    with RecordSorter(tmp_path, run_bytes=run_bytes) as sorter:
        for start in range(0, len(records), 50):
            part = records[start : start + 50]
            content = np.frombuffer(b"".join(text for _, text in part), dtype=np.uint8)
            keys = np.array([key for key, _ in part], np.uint64)
            sorter.add(content.copy(), keys, np.array([len(text) for _, text in part], np.int64))
        found = b"".join(part.tobytes() for part in sorter.sorted())
    assert found == b"".join(text for _, text in sorted(records, key=lambda record: record[0]))
    assert list(tmp_path.iterdir()) == []


def test_nothing_sorted_is_nothing(tmp_path: Path) -> None:
    assert list(RecordSorter(tmp_path).sorted()) == []


def test_bgzf_has_the_same_bytes_however_it_is_cut_and_ends_as_it_should(tmp_path: Path) -> None:
    dice = random.Random(4)
    content = dice.randbytes(300_000) + b"ACGT" * 2_000_000
    for number, cut in ((1, 777_777), (3, 5_000_000)):
        with BgzfWriter(tmp_path / f"{number}.gz") as out:
            for start in range(0, len(content), cut):
                out.write(content[start : start + cut])
    one = (tmp_path / "1.gz").read_bytes()
    assert one == (tmp_path / "3.gz").read_bytes()
    assert gzip.decompress(one) == content
    with pysam.BGZFile(str(tmp_path / "1.gz")) as file:
        file.seek(0)
        assert file.read(100) == content[:100]
    assert one.endswith(bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000"))
