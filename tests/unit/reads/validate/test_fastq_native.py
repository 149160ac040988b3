"""The compiled loops over FASTQ do what a few lines of plain Python would, however the text is cut."""

from __future__ import annotations

import gzip
import io
import random
import re
from pathlib import Path

import numpy as np
import pytest

from readvault.domain.errors import ProcessingFailure
from readvault.domain.organism import Dehumanize
from readvault.domain.reads import LibraryLayout, Platform
from readvault.reads.bgzf import BgzfWriter
from readvault.reads.dehumanize.dehumanization import dehumanize
from readvault.reads.sample import ReadFiles
from readvault.reads.validate import fastq_stream
from readvault.reads.validate.fastq_check import NameHashes, Profile, check
from readvault.reads.validate.fastq_native import (
    BAD,
    DROPPED,
    KEPT,
    MATE_USED,
    MATE_WRITTEN,
    RESHAPE,
    Hashes,
    keep_records,
)
from readvault.reads.validate.fastq_stream import Window, abreast
from readvault.reads.validate.sip_hash import sip_hash
from tests.unit.reads.fastq_maker import bases, record, records_of, write

CHANCE = random.Random(7)


def some_records(count: int, *, letters: str = "ACGT", longest: int = 90) -> list[tuple[str, str, str]]:
    """Name, bases, qualities."""
    lengths = [CHANCE.randint(1, longest) for _ in range(count)]
    return [
        (
            f"r{n}",
            "".join(CHANCE.choices(letters, k=length)),
            "".join(chr(CHANCE.randint(33, 126)) for _ in range(length)),
        )
        for n, length in enumerate(lengths)
    ]


def text_of(records: list[tuple[str, str, str]], ending: str = "", end: str = "\n") -> bytes:
    return "".join(
        f"@{name}{ending} c{end}{sequence}{end}+{end}{quality}{end}" for name, sequence, quality in records
    ).encode()


def checked(text: bytes, directory: Path, block: int) -> tuple[bool, Profile, Hashes]:
    names, profile = NameHashes(directory), Profile()
    right = check(io.BytesIO(text), profile, names, block)
    hashes = np.concatenate([np.empty(0, np.int64), *names.parts()])
    names.close()
    return right, profile, hashes


def test_names_are_hashed_as_python_hashes_bytes_with_a_key_of_zeros() -> None:
    """The numbers are Python's own, with PYTHONHASHSEED=0 (SipHash-1-3)."""
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", np.uint8).copy()
    expected = {
        1: 4644417185603328019,
        7: 7904145750247929094,
        8: 4574395652268504554,
        9: -532774252720507163,
        26: 3619993805786647007,
    }
    assert {size: sip_hash(letters, 0, size, np.zeros(2, np.uint64)) for size in expected} == expected
    assert sip_hash(letters, 0, 9, np.array([0, 1], np.uint64)) != expected[9]


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_profile_has_the_figures_of_the_reads_however_they_are_cut(tmp_path: Path, block: int, end: str) -> None:
    records = some_records(60, letters="ACGTNacgt.U")
    right, profile, hashes = checked(text_of(records, "/1", end), tmp_path, block)
    qualities = "".join(quality for _, _, quality in records)
    lengths = [len(sequence) for _, sequence, _ in records]
    assert right
    assert (profile.reads, profile.bases) == (60, sum(lengths))
    assert (profile.shortest, profile.longest) == (min(lengths), max(lengths))
    assert profile.quality_sum == sum(ord(character) - 33 for character in qualities)
    assert chr(profile.lowest_character) == min(qualities)
    assert chr(profile.highest_character) == max(qualities)
    assert (profile.carriage_returns, profile.reshaped_bases) == (end == "\r\n", True)
    assert profile.titles == [f"@{name}/1 c".encode() for name, _, _ in records[:50]]
    assert len(set(hashes.tolist())) == 60
    mates = checked(text_of(records, "/2"), tmp_path, 1000)[2]
    assert np.array_equal(hashes, mates), "the ending that tells mates apart is no part of the name"


def test_only_what_must_be_rewritten_is_told(tmp_path: Path) -> None:
    assert not checked(text_of(some_records(9, letters="ACGTNRYKMSWBDHV")), tmp_path, 99)[1].reshaped_bases
    assert BAD & RESHAPE == 0


@pytest.mark.parametrize("broken", ["", "@x\nAC\n+\nFF", "@x\nAC\n+\nFF\n"])
def test_the_last_line_needs_no_end_and_no_reads_are_no_fault(tmp_path: Path, broken: str) -> None:
    right, profile, _ = checked(broken.encode(), tmp_path, 5)
    assert (right, profile.reads) == (True, int(bool(broken)))


def test_a_line_without_end_is_given_up_long_before_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        given = 0

        def read(self, size: int, /) -> bytes:
            self.given += size
            return b"@" + b"A" * (size - 1)

    monkeypatch.setattr(fastq_stream, "LONGEST_RECORD", 200_000)
    stream, names = Endless(), NameHashes(tmp_path)
    assert not check(stream, Profile(), names, 1000)
    names.close()
    assert stream.given < 1_000_000


# ------------------------------------------------------------------ keeping


def kept(one: bytes, two: bytes | None, shortest: int, ordinal: int, size: int) -> tuple[bytes, bytes, int, int]:
    """What `keep_records` writes when both texts come `size` bytes at a time."""
    windows, given, found, totals = (Window(), Window()), [0, 0], [b"", b""], [0, 0]
    texts = (one, two or b"")
    while any(at < len(text) for at, text in zip(given, texts, strict=True)):
        for mate, text in enumerate(texts):
            part = text[given[mate] : given[mate] + size]
            windows[mate].room(len(part))[:] = part
            windows[mate].came(len(part))
            given[mate] += len(part)
        out = [np.zeros(2 * window.size + 100, np.uint8) for window in windows]
        counts = np.zeros(DROPPED + 1, np.int64)
        paired = two is not None
        assert keep_records(
            windows[0].text, windows[0].size, windows[1].text, windows[1].size, paired, shortest,
            ordinal + totals[0], out[0], out[1], counts,
        )  # fmt: skip
        for mate in range(2):
            windows[mate].drop(int(counts[MATE_USED + mate]))
            found[mate] += out[mate][: int(counts[MATE_WRITTEN + mate])].tobytes()
        totals[0] += int(counts[KEPT])
        totals[1] += int(counts[DROPPED])
    assert windows[0].size == 0
    return found[0], found[1], totals[0], totals[1]


def named_anew(records: list[tuple[str, str, str]], ordinal: int) -> bytes:
    return "".join(record(str(n), s, q) for n, (_, s, q) in enumerate(records, start=ordinal)).encode()


@pytest.mark.parametrize("size", [13, 1000, 1 << 20])
def test_mates_without_a_window_of_known_bases_leave_and_the_rest_is_numbered(size: int) -> None:
    one, two = some_records(150, letters="ACGTacgt" * 5 + "NR"), some_records(150, letters="ACGTN" + "ACGT" * 20)

    def is_screenable(sequence: str) -> bool:
        return re.search("[ACGTacgt]{20}", sequence) is not None

    together = [pair for pair in zip(one, two, strict=True) if all(is_screenable(read[1]) for read in pair)]
    assert 10 < len(together) < 140
    expected = [named_anew([pair[mate] for pair in together], 95) for mate in range(2)]
    assert kept(text_of(one), text_of(two), 20, 95, size) == (*expected, len(together), 150 - len(together))
    alone = [read for read in one if is_screenable(read[1])]
    single = kept(text_of(one), None, 20, 9_999_999_995, size)
    assert single == (named_anew(alone, 9_999_999_995), b"", len(alone), 150 - len(alone))


@pytest.mark.parametrize("text", ["x\nAC\n+\nFF\n", "@x\nAC\nAC\n+\nFF\n", "@x\nACG\n+\nFF\n@y\nA\n+\nF\n"])
def test_a_record_that_is_cut_is_our_failure(tmp_path: Path, text: str) -> None:
    reads = ReadFiles(Platform.ILLUMINA, LibraryLayout.SINGLE, (write(tmp_path / "x.fastq", text),))
    with pytest.raises(ProcessingFailure, match="cut"):
        dehumanize(reads, None, rules=Dehumanize(), publish_unscreened=False, directory=tmp_path, threads=1)


def test_lanes_are_counted_and_long_reads_pass(tmp_path: Path) -> None:
    """Two lanes become one file; a read of 1.2 million bases is longer than any block."""
    lanes = [
        write(tmp_path / "a.fastq", record("x", bases(1_200_000)) + record("y", "ACGT")),
        write(tmp_path / "b.fastq.gz", record("z", "ACGTA").rstrip("\n")),
    ]
    reads = ReadFiles(Platform.OXFORD_NANOPORE, LibraryLayout.SINGLE, tuple(lanes))
    found, report = dehumanize(reads, None, rules=Dehumanize(), publish_unscreened=True, directory=tmp_path, threads=1)
    assert (found.lanes, report.reads_kept) == ((2, 1), 3)
    assert [(r[0], len(r[1])) for r in records_of(found.r1[0])] == [("@1", 1_200_000), ("@2", 4), ("@3", 5)]


# ------------------------------------------------------------------ streams


def test_a_stream_of_short_records_waits_for_the_one_of_long_ones() -> None:
    long, short = b"L" * 80_000, b"s" * 8_000
    used = [0, 0]
    for windows in abreast([io.BytesIO(long), io.BytesIO(short)], 500):
        assert max(window.size for window in windows) <= 2000
        records = min(windows[0].size // 100, windows[1].size // 10)
        for mate, (window, size) in enumerate(zip(windows, (100, 10), strict=True)):
            window.drop(records * size)
            used[mate] += records
    assert used == [800, 800]


def test_gzip_does_not_depend_on_how_the_text_was_cut(tmp_path: Path) -> None:
    text = bases(2_300_000).encode()
    cuts = sorted(CHANCE.sample(range(len(text)), 20))
    for name, pieces in (
        ("whole", [text]),
        ("cut", [text[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]),
    ):
        with BgzfWriter(tmp_path / name) as file:
            for piece in pieces:
                file.write(piece)
    packed = (tmp_path / "whole").read_bytes()
    assert packed == (tmp_path / "cut").read_bytes()
    assert gzip.decompress(packed) == text
