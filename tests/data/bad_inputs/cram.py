"""CRAM with one fault, or with a reference that is not known."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

from readvault.domain.annotations import Reason
from readvault.reads.validate import cram_blocks
from tests.cram_maker import record, with_header, without_slice_checksums, write_cram
from tests.data.bad_inputs.aligned import CUT, DAMAGED, REFERENCE
from tests.data.bad_inputs.row import Row, changed_at
from tests.unit.reads.fastq_maker import bases

ELSEWHERE = bases(3000, 12)


@functools.cache
def cram(*options: str, reference: str = REFERENCE, count: int = 20) -> bytes:
    """A right CRAM of some reads."""
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder) / "ref.fa"
        fasta.write_text(f">ref\n{reference}\n")
        reads = [record(f"r{n}", reference[n * 100 : n * 100 + 150], position=n * 100 + 1) for n in range(count)]
        return write_cram(
            Path(folder) / "x.cram", fasta, {"SQ": [{"SN": "ref", "LN": 3000}]}, reads, *options
        ).read_bytes()


def _edited(data: bytes, *, header: str | None = None, blank: bool = False) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.cram"
        path.write_bytes(data)
        if header is not None:
            with_header(path, header)
        if blank:
            without_slice_checksums(path)
        return path.read_bytes()


def _md5(sequence: str) -> str:
    return hashlib.md5(sequence.encode(), usedforsecurity=False).hexdigest()


def rows() -> Iterator[Row]:
    """All of them."""
    known, unknown = Reason.UNKNOWN_REFERENCE, f"@SQ\tSN:ref\tLN:3000\tM5:{_md5(ELSEWHERE)}\n"
    honest = f"@SQ\tSN:ref\tLN:3000\tM5:{_md5(REFERENCE)}\n"
    for name, make, reason in (
        ("made with an unknown reference", lambda: cram(reference=ELSEWHERE), known),
        ("its header says an unknown reference", lambda: _edited(cram(), header=unknown), known),
        ("no M5", lambda: _edited(cram(), header="@SQ\tSN:ref\tLN:3000\n"), known),
        ("another length", lambda: _edited(cram(), header=honest.replace("3000", "2999")), known),
        ("our M5 for another reference", lambda: _edited(cram(reference=ELSEWHERE), header=honest), DAMAGED),
        ("slice checksums blanked", lambda: _edited(cram("version=3.0"), blank=True), DAMAGED),
        ("no contig in the header", lambda: _edited(cram(), header="@HD\tVN:1.6\n"), DAMAGED),
        ("a contig twice", lambda: _edited(cram(), header=honest + honest), DAMAGED),
        ("a contig without length", lambda: _edited(cram(), header="@SQ\tSN:ref\n"), DAMAGED),
        ("a contig with a strange name", lambda: _edited(cram(), header=honest.replace("SN:ref", "SN:=x")), DAMAGED),
        ("version 1.0", lambda: b"CRAM\1\0" + cram()[6:], DAMAGED),
        ("version 4.0", lambda: b"CRAM\4\0" + cram()[6:], DAMAGED),
        ("no end-of-file container", lambda: cram()[:-38], CUT),
        ("only its first bytes", lambda: cram()[:20], CUT),
        ("something follows", lambda: cram() + b"garbage that follows", CUT),
        ("without reads", lambda: cram(count=0), Reason.NO_READS),
        ("packed once more", lambda: gzip.compress(cram()), Reason.WRONG_FORMAT),
    ):
        yield Row(
            f"CRAM: {name}",
            "3.0",
            lambda m=make: {"x.cram": m()},
            reason,
            also=(DAMAGED, CUT) if reason in (CUT, DAMAGED) else (),
        )
    for tenth in range(1, 10):
        yield Row(
            "CRAM: cut off",
            f"at {tenth}0 %",
            lambda t=tenth: {"x.cram": cram()[: len(cram()) * t // 10]},
            CUT,
            also=(DAMAGED,),
        )
        yield Row(
            "CRAM: eight bytes changed",
            f"at {tenth}0 %",
            lambda t=tenth: {"x.cram": _flipped(cram(), t)},
            DAMAGED,
            also=(CUT, known),
        )
    for options in (
        ("version=2.1",),
        ("version=3.0",),
        ("version=3.1",),
        ("embed_ref=1",),
        ("no_ref=1",),
        ("version=3.1", "archive"),
    ):
        yield Row("right: CRAM", " ".join(options), lambda o=options: {"x.cram": cram(*o)})
    yield Row(
        "right: CRAM of an unknown reference that it brings along",
        "embed_ref",
        lambda: {"x.cram": cram("embed_ref=1", reference=ELSEWHERE)},
    )


def _flipped(data: bytes, tenth: int) -> bytes:
    """Changed behind the padding after the header, which means nothing."""
    file = io.BytesIO(data)
    first = next(cram_blocks.containers(file, cram_blocks.version_of(file)[0]))
    start = first.body_at + first.length
    return changed_at(data, start + (len(data) - start) * tenth // 10)
