"""Compressed submissions: what tools write is read, what they can't have written is refused in flat memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tracemalloc
import zipfile
from collections.abc import Callable

import pytest
import zstandard

from readvault.domain.errors import BadRequest, TooLarge, Unprocessable
from readvault.services.submission.decompression import text_of

LIMIT = 500_000
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "zst": zstandard.compress,
    "xz": lzma.compress,
    "gz": gzip.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bz2": bz2.compress,
}


def read(content: bytes, extension: str) -> str:
    return text_of(content, f"metadata.tsv.{extension}", kind="Metadata file", extensions=("tsv",), limit=LIMIT)


def archive(*entries: tuple[str, bytes], encrypted: bool = False) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in entries:
            opened.writestr(name, data)
    content = target.getvalue()
    if encrypted:
        at = content.index(b"PK\1\2") + 8
        content = content[:at] + struct.pack("<H", 1) + content[at + 2 :]
    return content


@pytest.mark.parametrize("extension", ["zst", "xz", "gz", "bz2"])
def test_members_that_were_concatenated_are_one_text(extension: str) -> None:
    compress = COMPRESS[extension]
    assert read(compress(b"id\ta\n") + compress(b"s\t1\n"), extension) == "id\ta\ns\t1\n"


@pytest.mark.parametrize("extension", COMPRESS)
def test_large_texts_are_whole(extension: str) -> None:
    text = "".join(f"{number}\t{number * number}\n" for number in range(15_000))
    assert read(COMPRESS[extension](text.encode()), extension) == text


@pytest.mark.parametrize("extension", COMPRESS)
@pytest.mark.parametrize("cut", [0, 1, 5, 20, -1])
def test_what_was_cut_is_no_shorter_text(extension: str, cut: int) -> None:
    content = COMPRESS[extension]("".join(f"{number}\n" for number in range(1000)).encode())[:cut]
    with pytest.raises(Unprocessable, match="can't be decompressed"):
        read(content, extension)


@pytest.mark.parametrize("extension", COMPRESS)
def test_a_bomb_stops_at_the_limit_in_flat_memory(extension: str) -> None:
    bomb = COMPRESS[extension](b"a" * 12_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            read(bomb, extension)
        assert tracemalloc.get_traced_memory()[1] < 20 * LIMIT
    finally:
        tracemalloc.stop()


def test_a_header_that_asks_for_much_memory_is_refused() -> None:
    greedy = bytearray(lzma.compress(b"id\n", lzma.FORMAT_ALONE))
    greedy[1:5] = struct.pack("<I", 2**31)
    with pytest.raises(Unprocessable):
        read(bytes(greedy), "lzma")
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**28}]
    with pytest.raises(Unprocessable):
        read(lzma.compress(b"id\n" * 1000, filters=filters), "xz")


def test_the_first_file_of_a_zip_counts_and_folders_do_not() -> None:
    assert (
        read(archive(("folder/", b""), ("__MACOSX/._m", b"x"), ("folder/m.tsv", b"id\n"), ("n", b"no")), "zip")
        == "id\n"
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (archive(), "the archive holds no file"),
        (archive(("folder/", b"")), "the archive holds no file"),
        (archive(("m.tsv", b"id\n"), encrypted=True), "the archive is encrypted"),
        (b"no archive", "can't be decompressed as .zip"),
        (archive(("m.tsv", b"id\n" * 9000))[:-30], "can't be decompressed as .zip"),
        (archive(*((f"{n:0>200}", b"") for n in range(5000))), "too many entries"),
    ],
    ids=["empty", "only a folder", "encrypted", "no zip", "cut", "many entries"],
)
def test_a_zip_that_is_refused_says_why(content: bytes, why: str) -> None:
    with pytest.raises(Unprocessable, match=why):
        read(content, "zip")


def test_the_inner_bytes_of_a_zip_are_checked() -> None:
    content = bytearray(archive(("m.tsv", b"id\n" * 900)))
    content[40] ^= 0xFF
    with pytest.raises(Unprocessable):
        read(bytes(content), "zip")


@pytest.mark.parametrize("name", ["metadata.txt", "metadata.tsv.rar", "metadata", "metadata.gz", ""])
def test_another_extension_names_all_that_are_taken(name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        text_of(b"", name, kind="Metadata file", extensions=("tsv",), limit=LIMIT)
    assert str(refused.value) == (
        "Metadata file has wrong extension. Must be .tsv for uncompressed submissions or .tsv.zst, .tsv.xz, .tsv.zip,"
        " .tsv.gz, .tsv.lzma, .tsv.bz2 for compressed submissions"
    )
