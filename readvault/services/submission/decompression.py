"""Submitted text files, perhaps compressed as their names tell, never larger than a limit."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, Any, cast

import zstandard

from readvault.domain.errors import BadRequest, TooLarge, Unprocessable

_MAX_ZSTD_WINDOW = 2**27
_MAX_LZMA_MEMORY = 2**27
"""Bytes; `xz -9` needs half of it."""
_MAX_ZIP_DIRECTORY = 10**6
_END_OF_ZIP = 22
_ENCRYPTED = 1
_BLOCK = 2**16
_ZSTD_BLOCK = 2**7
"""Bytes that are decompressed at once: they may become some 40,000 times as many."""


class _Refused(Exception):
    """The archive can be read, but not taken; the text ends a sentence that begins with the file's kind."""


class _Zstd(io.RawIOBase):
    """A .zst file. The library's own reader takes a file that was cut off for a whole one."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._library = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW)
        self._frame = self._library.decompressobj()
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._ready:
            if self._frame.eof:
                block = self._frame.unused_data or self._source.read(_ZSTD_BLOCK)
                if not block:
                    return 0
                self._frame = self._library.decompressobj()
            elif not (block := self._source.read(_ZSTD_BLOCK)):
                raise EOFError("the compressed file ends too early")
            self._ready = self._frame.decompress(block)
        data, self._ready = self._ready[: len(target)], self._ready[len(target) :]
        target[: len(data)] = data
        return len(data)


def _zstd(source: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", io.BufferedReader(_Zstd(source)))


def _gzip(source: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", gzip.GzipFile(fileobj=source))


class _Lzma(io.RawIOBase):
    """An .xz or .lzma file. Python's own reader takes whatever memory the file's header asks for."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._decoder = lzma.LZMADecompressor(memlimit=_MAX_LZMA_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while True:
            if self._decoder.eof:
                rest = self._decoder.unused_data.lstrip(b"\0") or self._source.read(_BLOCK).lstrip(b"\0")
                if not rest:
                    return 0
                self._decoder = lzma.LZMADecompressor(memlimit=_MAX_LZMA_MEMORY)
                data = self._decoder.decompress(rest, len(target))
            else:
                block = self._source.read(_BLOCK) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not block:
                    raise EOFError("the compressed file ends too early")
                data = self._decoder.decompress(block, len(target))
            if data:
                target[: len(data)] = data
                return len(data)


def _lzma(source: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", io.BufferedReader(_Lzma(source)))


def _bz2(source: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", bz2.BZ2File(source))


def _zip(source: IO[bytes]) -> IO[bytes]:
    _check_directory(source)
    archive = zipfile.ZipFile(source)
    files = [entry for entry in archive.infolist() if not entry.is_dir() and not entry.filename.startswith("__MACOSX/")]
    if not files:
        raise _Refused("holds no file")
    if files[0].flag_bits & _ENCRYPTED:
        raise _Refused("is encrypted")
    return archive.open(files[0])


def _check_directory(source: IO[bytes]) -> None:
    """Refuse an archive with very many entries before all of them become objects in memory."""
    source.seek(max(0, source.seek(0, io.SEEK_END) - _END_OF_ZIP - 2**16))
    tail = source.read()
    source.seek(0)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END_OF_ZIP:
        raise zipfile.BadZipFile
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    if size > _MAX_ZIP_DIRECTORY or tail[max(0, at - 20) : at].startswith(b"PK\6\7"):
        raise _Refused("has too many entries")


_OPENERS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    ".zst": _zstd,
    ".xz": _lzma,
    ".zip": _zip,
    ".gz": _gzip,
    ".lzma": _lzma,
    ".bz2": _bz2,
}
_FAULTS = (OSError, EOFError, ValueError, IndexError, KeyError, NotImplementedError, RuntimeError,
           MemoryError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, zstandard.ZstdError)  # fmt: skip


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
            if not content:
                raise EOFError
            with _OPENERS[compression](io.BytesIO(content)) as stream:
                data = stream.read(limit + 1)
        except _Refused as refusal:
            raise Unprocessable(f"{kind} can't be decompressed as {compression}: the archive {refusal}.") from None
        except _FAULTS:
            raise Unprocessable(f"{kind} can't be decompressed as {compression}.") from None
    if len(data) > limit:
        raise TooLarge(f"{kind} has more than {limit} bytes of text.")
    return data
