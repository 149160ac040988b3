"""Files that are cut, damaged, packed in what is not read, no reads at all, or bombs."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

import zstandard

from readvault.domain.annotations import Reason
from tests.data.bad_inputs.fastq import records, text
from tests.data.bad_inputs.row import PACKINGS, Row, bgzf, changed_at, members, zstd

GOOD = text(records(count=120))
GZIP, BGZF, ZSTD = gzip.compress(GOOD, mtime=0), bgzf(GOOD), zstd(GOOD)
CUT, CORRUPT, UNKNOWN, WRONG = (
    Reason.TRUNCATED_FILE,
    Reason.CORRUPT_COMPRESSION,
    Reason.UNKNOWN_FORMAT,
    Reason.WRONG_FORMAT,
)
_TENTHS = range(1, 10)


def rows() -> Iterator[Row]:
    """All of them."""
    yield from _cut()
    yield from _damaged()
    yield from _no_reads()
    yield from _other_packings()
    yield from _bombs()
    yield from _accepted()


def _one(kind: str, name: str, data: bytes, reason: Reason | None, *also: Reason, label: str = "reads.fastq.gz") -> Row:
    return Row(kind, name, lambda: {label: data}, reason, also=also)


def _cut() -> Iterator[Row]:
    for tenth in _TENTHS:
        for name, data, label in (("gzip", GZIP, ".gz"), ("bgzf", BGZF, ".gz"), ("zstd", ZSTD, ".zst")):
            piece = data[: len(data) * tenth // 10]
            yield _one(
                f"cut off: {name}", f"at {tenth}0 %", piece, CUT, Reason.MALFORMED_RECORD, label=f"reads.fastq{label}"
            )
    for bytes_lost in (1, 4, 8):
        yield _one("cut off: gzip", f"{bytes_lost} bytes lost", GZIP[:-bytes_lost], CUT)
        yield _one("cut off: zstd", f"{bytes_lost} bytes lost", ZSTD[:-bytes_lost], CUT, label="reads.fastq.zst")
    for size in (2, 3, 5, 9):
        yield _one("cut off: gzip", f"{size} bytes left", GZIP[:size], CUT, UNKNOWN, WRONG, Reason.NO_READS, CORRUPT)


def _damaged() -> Iterator[Row]:
    for name, data in (("gzip", GZIP), ("gzip in members", members(GOOD))):
        yield _one("damaged: wrong CRC", name, data[:-8] + b"beef" + data[-4:], CORRUPT)
        yield _one("damaged: wrong length", name, data[:-4] + b"beef", CORRUPT)
    for name, data, label in (("gzip", GZIP, ".gz"), ("bgzf", BGZF, ".gz"), ("zstd", ZSTD, ".zst")):
        for tenth in _TENTHS:
            place = len(data) * tenth // 10
            flipped = changed_at(data, place)
            found = _one(
                "damaged: eight bytes changed",
                f"{name}, at {tenth}0 %",
                flipped,
                CORRUPT,
                *(CUT, UNKNOWN, WRONG),
                *_TEXT_FAULTS,
            )
            yield Row(
                found.kind, found.name, lambda d=flipped, e=label: {f"reads.fastq{e}": d}, CORRUPT, also=found.also
            )
        for garbage in (b"garbage after the end", b"\x00" * 50 + b"garbage", b"\x1f\x8b\x08 no member"):
            yield _one(
                "damaged: something follows",
                f"{name}, {len(garbage)} bytes",
                data + garbage,
                CORRUPT,
                CUT,
                label=f"reads.fastq{label}",
            )


_TEXT_FAULTS = (Reason.MALFORMED_RECORD, Reason.INVALID_BASE, Reason.INVALID_QUALITY)


def _no_reads() -> Iterator[Row]:
    yield _one("empty", "no byte", b"", Reason.EMPTY_FILE)
    for packing, (ending, pack) in PACKINGS.items():
        if packing not in ("plain", "gzip in members"):
            yield _one("empty", f"nothing packed: {packing}", pack(b""), Reason.NO_READS, label=f"reads.fastq{ending}")
        for name, content, reasons in (
            ("blank lines", b"\n\n\n", (Reason.MALFORMED_RECORD, Reason.NO_READS)),
            ("FASTA", b">a\nACGT\n", (WRONG,)),
            (
                "a web page",
                b"<!DOCTYPE html>\n<html><body>404</body></html>\n",
                (Reason.MALFORMED_RECORD, WRONG, UNKNOWN),
            ),
            ("JSON", b'{"error": "expired"}\n', (Reason.MALFORMED_RECORD, WRONG, UNKNOWN)),
            (
                "an S3 error",
                b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
                (Reason.MALFORMED_RECORD, UNKNOWN),
            ),
            ("a table", b"name\tbases\nr1\tACGT\n", (Reason.MALFORMED_RECORD, UNKNOWN)),
            ("PDF", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", (Reason.MALFORMED_RECORD, UNKNOWN)),
            ("zero bytes", bytes(5000), (UNKNOWN,)),
            ("UTF-16", GOOD.decode().encode("utf-16"), (WRONG,)),
            ("UTF-8 with a byte order mark", b"\xef\xbb\xbf" + GOOD, (WRONG,)),
            (
                "a Git LFS pointer",
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
                (Reason.MALFORMED_RECORD, UNKNOWN),
            ),
        ):
            yield _one(f"no reads: {name}", packing, pack(content), *reasons, label=f"reads.fastq{ending}")


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("reads.fastq")
        entry.size = len(GOOD)
        archive.addfile(entry, io.BytesIO(GOOD))
    return file.getvalue()


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("reads.fastq", GOOD)
    return file.getvalue()


def _other_packings() -> Iterator[Row]:
    for name, data in (
        ("bzip2", bz2.compress(GOOD)),
        ("xz", lzma.compress(GOOD)),
        ("zip", _zip()),
        ("7-Zip", b"7z\xbc\xaf\x27\x1c" + bytes(100)),
        ("RAR", b"Rar!\x1a\x07\x01\x00" + bytes(100)),
        ("tar", _tar()),
        ("HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)),
        ("SRA", b"NCBI.sra" + bytes(100)),
        ("POD5", b"\x8bPOD\r\n\x1a\n" + bytes(100)),
    ):
        for label in ("reads.fastq.gz", "reads.fastq", "reads"):
            yield _one(f"packed in {name}", label, data, UNKNOWN, label=label)
        yield _one(f"packed in {name}", "inside gzip", gzip.compress(data), UNKNOWN)
    yield _one("packed twice", "gzip", gzip.compress(GZIP), WRONG)
    yield _one("packed twice", "zstd in gzip", gzip.compress(ZSTD), WRONG)
    yield _one(
        "packed twice", "gzip in zstd", zstd(GZIP), WRONG, UNKNOWN, Reason.MALFORMED_RECORD, label="reads.fastq.zst"
    )


BOMB_SIZES = (1_500_000, 3_000_000, 9_000_000)
"""Bytes; the test lets the ratio count from 1,000,000 on."""


def _bombs() -> Iterator[Row]:
    for size in BOMB_SIZES:
        zeros, legal = (
            bytes(size),
            b"".join(b"@r%d\n%s\n+\n%s\n" % (n, b"N" * 5000, b"F" * 5000) for n in range(size // 10_000)),
        )
        one_line = b"@r\n" + b"N" * size
        bomb = Reason.COMPRESSION_BOMB
        for name, data, label in (
            ("zeros, gzip", gzip.compress(zeros), ".fastq.gz"),
            ("zeros, bgzf", bgzf(zeros, size=65_000), ".fastq.gz"),
            ("zeros, zstd", zstd(zeros), ".fastq.zst"),
            ("right reads, gzip", gzip.compress(legal), ".fastq.gz"),
            ("right reads, zstd", zstd(legal), ".fastq.zst"),
            ("right reads, bgzf", bgzf(legal, size=65_000), ".fastq.gz"),
            ("one line, gzip", gzip.compress(one_line), ".fastq.gz"),
            ("one line, zstd", zstd(one_line), ".fastq.zst"),
            ("members of one byte repeated", gzip.compress(bytes(100_000)) * (size // 100_000), ".fastq.gz"),
            ("SAM, gzip", gzip.compress(b"@HD\tVN:1.6\n" + b"r\t4\t*\t0\t0\t*\t*\t0\t0\t" + b"N" * size), ".sam.gz"),
            ("SAM header, gzip", gzip.compress(b"@CO\t" + b"x" * size), ".sam.gz"),
            ("BAM header", bgzf(b"BAM\1" + struct.pack("<i", size) + bytes(size), size=65_000), ".bam"),
            ("BAM of zeros", bgzf(b"BAM\1" + bytes(8) + struct.pack("<i", size) + bytes(size), size=65_000), ".bam"),
        ):
            also = (Reason.UNKNOWN_FORMAT, Reason.UNREADABLE_FILE, Reason.MALFORMED_RECORD, Reason.TRUNCATED_FILE)
            yield _one(
                f"bomb: {name}",
                f"{size:,} bytes",
                data,
                bomb,
                *(also if "right" not in name else ()),
                label=f"reads{label}",
            )
    deep = GOOD
    for _ in range(5):
        deep = gzip.compress(deep)
    yield _one("bomb: gzip in gzip", "five deep", deep, WRONG)
    yield _one(
        "bomb: endless name in the gzip header",
        "70,000 bytes",
        b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 70_000,
        CUT,
        Reason.NO_READS,
    )
    window = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    )
    stream = window.compressobj()
    packed = stream.compress(GOOD * 2) + stream.flush()
    yield _one("bomb: zstd window of 256 MiB", "declared", packed, CORRUPT, label="reads.fastq.zst")


def _accepted() -> Iterator[Row]:
    for zeros in (1, 2, 5, 8, 9, 10, 27, 28, 100, 512, 10_240):
        yield _one("right: zeros after the gzip", f"{zeros}", GZIP + bytes(zeros), None)
        yield _one("right: zeros after the bgzf", f"{zeros}", BGZF + bytes(zeros), None)
    yield _one("right: bgzf without its last block", "FASTQ", bgzf(GOOD, end=False), None)
    yield _one("right: an empty member of gzip", "before", gzip.compress(b"") + GZIP, None)
    yield _one("right: an empty member of gzip", "after", GZIP + gzip.compress(b""), None)
    yield _one("right: a name and a comment in the gzip header", "FNAME", _with_name(GZIP), None)
    yield _one(
        "right: a skippable frame of zstd",
        "before",
        b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + ZSTD,
        None,
        label="reads.fastq.zst",
    )
    for label, data in (("reads.fastq.gz", GOOD), ("reads.fastq", GZIP), ("reads.fastq.gz", ZSTD)):
        yield Row(
            "right: another packing than the name says",
            f"{label} {len(data)}",
            lambda d=data, e=label: {e: d},
            warning=WRONG,
        )


def _with_name(data: bytes) -> bytes:
    assert zlib.decompress(data, wbits=31)
    return data[:3] + b"\x18" + data[4:10] + b"Jane Doe.fastq\0comment\0" + data[10:]
