"""Submitted text files, perhaps compressed as their names tell, never larger than a limit."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, cast

import zstandard

from readvault.domain.errors import BadRequest, TooLarge, Unprocessable

_MAX_ZSTD_WINDOW = 2**27


def _zstd(source: IO[bytes]) -> IO[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW)
    return cast("IO[bytes]", decompressor.stream_reader(source, read_across_frames=True))


def _gzip(source: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", gzip.GzipFile(fileobj=source))


def _lzma(source: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", lzma.LZMAFile(source))


def _bz2(source: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", bz2.BZ2File(source))


def _zip(source: IO[bytes]) -> IO[bytes]:
    archive = zipfile.ZipFile(source)
    return archive.open(archive.infolist()[0])


_OPENERS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    ".zst": _zstd,
    ".xz": _lzma,
    ".zip": _zip,
    ".gz": _gzip,
    ".lzma": _lzma,
    ".bz2": _bz2,
}
_FAULTS = (OSError, EOFError, ValueError, IndexError, KeyError, NotImplementedError, RuntimeError,
           lzma.LZMAError, zlib.error, zipfile.BadZipFile, zstandard.ZstdError)  # fmt: skip


def text_of(content: bytes, name: str, *, kind: str, extensions: tuple[str, ...], limit: int) -> str:
    """The text of a submitted file; `kind` names it in messages (`Metadata file`).

    `extensions` are those of the uncompressed file, without a dot. Raises BadRequest for another
    extension, TooLarge above `limit` bytes once decompressed, Unprocessable for what is no UTF-8.
    """
    data = _decompressed(content, _compression(name, kind, extensions), kind, limit)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raise Unprocessable(f"{kind} is not encoded in UTF-8 (line {line}).") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise Unprocessable(f"{kind} contains a NUL character (line {line}).")
    return text


def _compression(name: str, kind: str, extensions: tuple[str, ...]) -> str | None:
    if any(name.endswith(f".{extension}") for extension in extensions):
        return None
    for compression in _OPENERS:
        if any(name.endswith(f".{extension}{compression}") for extension in extensions):
            return compression
    compressed = ", .".join(extension + compression for compression in _OPENERS for extension in extensions)
    raise BadRequest(
        f"{kind} has wrong extension. Must be .{', .'.join(extensions)} for uncompressed submissions or"
        f" .{compressed} for compressed submissions"
    )


def _decompressed(content: bytes, compression: str | None, kind: str, limit: int) -> bytes:
    data = content
    if compression is not None:
        try:
            with _OPENERS[compression](io.BytesIO(content)) as stream:
                data = stream.read(limit + 1)
        except _FAULTS:
            raise Unprocessable(f"{kind} can't be decompressed as {compression}.") from None
    if len(data) > limit:
        raise TooLarge(f"{kind} has more than {limit} bytes of text.")
    return data
