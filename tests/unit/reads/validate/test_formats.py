"""A file is what its content is, and unpacking it can't hurt."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from readvault.domain.annotations import Reason
from readvault.reads.validate import formats
from readvault.reads.validate.formats import Compression, Content, Decompressed, UnreadableFileError
from readvault.reads.validate.formats_recognition import claimed_by, kind_of
from tests.unit.reads.fastq_maker import reads

FASTQ = reads(500).encode()
GZIP = gzip.compress(FASTQ, mtime=0)
ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress(FASTQ)


def content(path: Path, *, limit: int = 10**9) -> bytes:
    kind = kind_of(path)
    with Decompressed(path, kind.compression, limit=limit) as stream:
        return b"".join(iter(lambda: stream.read(1 << 16), b""))


@pytest.mark.parametrize(
    ("data", "compression"),
    [
        (FASTQ, Compression.NONE),
        (GZIP, Compression.GZIP),
        (gzip.compress(FASTQ[:1000]) + gzip.compress(b"") + gzip.compress(FASTQ[1000:]), Compression.GZIP),
        (gzip.compress(b"") + GZIP, Compression.GZIP),
        (gzip.compress(b"") * 4000 + GZIP, Compression.GZIP),
        (GZIP[:3] + b"\x10" + GZIP[4:10] + b"c" * 100_000 + b"\0" + GZIP[10:], Compression.GZIP),
        (GZIP + b"\0" * 64, Compression.GZIP),
        (ZSTD, Compression.ZSTD),
        (zstandard.compress(FASTQ[:1000]) + zstandard.compress(FASTQ[1000:]), Compression.ZSTD),
        (b"\x50\x2a\x4d\x18\x04\0\0\0skip" + ZSTD, Compression.ZSTD),
    ],
    ids=[
        "plain",
        "gzip",
        "members",
        "empty member first",
        "80 kB of empty members",
        "comment",
        "zero padding",
        "zstd",
        "frames",
        "skippable frame",
    ],
)
def test_every_packing_unpacks_to_the_same_bytes(tmp_path: Path, data: bytes, compression: Compression) -> None:
    path = tmp_path / "anything"
    path.write_bytes(data)
    assert kind_of(path).compression is compression
    assert kind_of(path).content is Content.FASTQ
    assert content(path) == FASTQ


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY_FILE),
        (GZIP[:-200], Reason.TRUNCATED_FILE),
        (GZIP[:-3], Reason.TRUNCATED_FILE),
        (GZIP[:-8] + b"beef" + GZIP[-4:], Reason.CORRUPT_COMPRESSION),
        (GZIP + b"and then some garbage", Reason.CORRUPT_COMPRESSION),
        (ZSTD[:-20], Reason.TRUNCATED_FILE),
        (ZSTD + b"and then some garbage", Reason.CORRUPT_COMPRESSION),
        (ZSTD[:500] + bytes([ZSTD[500] ^ 255]) + ZSTD[501:], Reason.CORRUPT_COMPRESSION),
        (gzip.compress(GZIP), Reason.WRONG_FORMAT),
        (bz2.compress(FASTQ), Reason.UNKNOWN_FORMAT),
        (lzma.compress(FASTQ), Reason.UNKNOWN_FORMAT),
        (b"PK\x03\x04 and so on", Reason.UNKNOWN_FORMAT),
        (b"\xef\xbb\xbf" + FASTQ, Reason.WRONG_FORMAT),
        (FASTQ.decode().encode("utf-16"), Reason.WRONG_FORMAT),
        (gzip.compress(b"BZh91AY"), Reason.UNKNOWN_FORMAT),
    ],
)
def test_what_is_broken_is_refused_with_its_cause(tmp_path: Path, data: bytes, reason: Reason) -> None:
    path = tmp_path / "anything"
    path.write_bytes(data)
    with pytest.raises(UnreadableFileError) as refusal:
        content(path)
    assert refusal.value.reason is reason


@pytest.mark.parametrize(
    "pack", [lambda data: gzip.compress(data, 1), zstandard.ZstdCompressor().compress], ids=["gzip", "zstd"]
)
def test_a_bomb_is_stopped_soon_after_the_ratio_counts(
    tmp_path: Path, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "RATIO_COUNTS_FROM", 3_000_000)
    path = tmp_path / "bomb"
    path.write_bytes(pack(b"@read\n" + b"N" * 20_000_000))
    given: list[int] = []
    with Decompressed(path, kind_of(path).compression, limit=10**12) as stream:
        blocks = iter(lambda: stream.read(1 << 20), b"")
        with pytest.raises(UnreadableFileError) as refusal:
            given.extend(map(len, blocks))
    assert refusal.value.reason is Reason.COMPRESSION_BOMB
    assert sum(given) <= 6_000_000


def test_no_file_gives_more_than_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(GZIP)
    with pytest.raises(UnreadableFileError) as refusal:
        content(path, limit=len(FASTQ) - 1)
    assert refusal.value.reason is Reason.COMPRESSION_BOMB
    assert content(path, limit=len(FASTQ)) == FASTQ


@pytest.mark.parametrize(
    ("label", "claim"),
    [
        ("a.fastq.gz", (Content.FASTQ, Compression.GZIP)),
        ("a.b.FQ", (Content.FASTQ, Compression.NONE)),
        ("a.fastq.zst", (Content.FASTQ, Compression.ZSTD)),
        ("x/a.bam", (Content.BAM, None)),
        ("reads", (None, None)),
        ("fastq", (None, None)),
    ],
)
def test_a_name_claims_what_its_endings_say(label: str, claim: tuple[Content | None, Compression | None]) -> None:
    assert claimed_by(label) == claim
