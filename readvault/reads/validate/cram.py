"""CRAM, of which no path and no address is ever followed.

A CRAM's header may say where its reference lies, and htslib would open that: another submitter's
sequence, any file of ours. So the header is written anew before htslib sees the file: names, lengths and
checksums of references, names of read groups, nothing else. References come from a directory that
holds the organism's own under their MD5; a slice whose checksum is blanked, which would
switch off the check against another reference, is refused.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from isal import igzip_threaded

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import InvalidSubmission, ProcessingFailure
from readvault.reads.references import load_segments
from readvault.reads.validate import cram_blocks
from readvault.reads.validate.cram_blocks import MULTIPLE, UNMAPPED
from readvault.reads.validate.fastq_stream import Readable
from readvault.reads.validate.formats import RATIO_COUNTS_FROM, UnreadableFileError

_MOST_NAMED = 5
_TO_END = 2.0
"""Seconds."""
RATIO_LIMIT = 1000
"""Bytes of BAM per byte of CRAM: reads that equal their reference, with one quality for all, take very little."""
_CRASHES = {-number for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)}
_NAME = re.compile(r"[0-9A-Za-z!#$%&+./:;?@^_|~-][0-9A-Za-z!#$%&*+./:;=?@^_|~-]*")
_MD5 = re.compile(r"[0-9a-f]{32}")
_DAMAGED = UnreadableFileError(Reason.UNREADABLE_FILE, "The CRAM can't be read to its end: it is damaged.")


class Bounded:
    """A stream that stops a bomb: it gives at most `limit` bytes, and not 1,000 for each of the `packed` ones."""

    def __init__(self, stream: Readable, limit: int, packed: int) -> None:
        self._stream, self._left = stream, min(limit, max(RATIO_COUNTS_FROM, RATIO_LIMIT * packed))

    def read(self, size: int, /) -> bytes:
        """The next bytes."""
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            message = "The CRAM unpacks to far more than any real data."
            raise UnreadableFileError(Reason.COMPRESSION_BOMB, message)
        return data


@contextmanager
def decoded(cram: Path, label: str, references: Sequence[Path], directory: Path, *, limit: int) -> Iterator[Readable]:
    """The content of a CRAM as that of a BAM, decoded by htslib in a process of its own.

    `references` are the FASTA files that the organism knows. Raises UnreadableFileError for a file that
    is cut, damaged or forged, and InvalidSubmission with `unknownReference` for each contig that
    is needed and not known. Leaving the block before the end of the stream stops the decoder.
    """
    known = _known(references, directory / "references")
    rewritten = directory / "rewritten.cram"
    unknown = rewrite(cram, rewritten, known, label)
    with rewritten.open("rb") as source, _decoder(source, directory / "references") as child:
        assert child.stdout is not None
        try:
            with igzip_threaded.open(child.stdout, "rb", threads=1) as stream:
                yield Bounded(stream, limit, cram.stat().st_size)
        except (OSError, EOFError) as fault:
            if isinstance(fault, OSError) and fault.errno is not None:
                raise
            raise _failed(child.wait(), unknown) from fault
        except UnreadableFileError as fault:
            if fault.reason is Reason.COMPRESSION_BOMB or not _ends_badly(child):
                raise
            raise _failed(child.returncode, unknown) from fault
        if child.wait() != 0:
            raise _failed(child.returncode, unknown)
    rewritten.unlink()


@contextmanager
def _decoder(source: BinaryIO, references: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {"REF_PATH": f"{references}/%s", "REF_CACHE": f"{references}/%s", "LC_ALL": "C"}
    environment |= {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ}
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "readvault.reads.validate.cram_child"],
        stdin=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=references,
    )
    with child:
        try:
            yield child
        finally:
            child.kill()


def _ends_badly(child: subprocess.Popen[bytes]) -> bool:
    """Whether the decoder ends, and not well; one that waits for somebody to read on has no part in the fault."""
    try:
        return child.wait(_TO_END) != 0
    except subprocess.TimeoutExpired:
        return False


def _failed(status: int, unknown: list[Annotation]) -> Exception:
    """Why the decoder stopped: a file that crashes it is damaged; whoever else ended it, it was not the file."""
    if status < 0 and status not in _CRASHES:
        return ProcessingFailure("validate", f"the CRAM decoder was ended by signal {-status}")
    if unknown:
        return InvalidSubmission(unknown[:_MOST_NAMED])
    return _DAMAGED


def _known(references: Sequence[Path], directory: Path) -> dict[str, int]:
    """Put the bases of the organism's references where htslib looks for an MD5; lengths by MD5."""
    directory.mkdir(exist_ok=True)
    known = {}
    for path in references:
        for segment in load_segments(path):
            bases = segment.sequence.upper().encode()
            digest = hashlib.md5(bases, usedforsecurity=False).hexdigest()
            (directory / digest).write_bytes(bases)
            known[digest] = len(bases)
    return known


def rewrite(cram: Path, target: Path, known: dict[str, int], label: str) -> list[Annotation]:
    """Copy a CRAM with a header that points nowhere; the contigs of it that are not known, as annotations.

    Raises InvalidSubmission when a slice needs such a contig, and UnreadableFileError for a file that is cut
    or damaged and for a slice that has no checksum of the reference bases it needs.
    """
    with cram.open("rb") as file:
        version = cram_blocks.version_of(file)
        whole = cram_blocks.containers(file, version[0])
        first = next(whole)
        contigs, text = _clean(cram_blocks.header_text(file, first, version[0]))
        unknown = {
            number: Annotation(
                Reason.UNKNOWN_REFERENCE,
                f"The CRAM was made with a reference '{name}' that is not known here; send BAM or FASTQ,"
                " or a CRAM with an embedded reference.",
                file=label,
            )
            for number, (name, length, md5) in enumerate(contigs)
            if known.get(md5) != length
        }
        needed: set[int] = set()
        for container in whole:
            if not container.is_end:
                needed |= _references_needed(file, container, version[0], len(contigs))
        if missing := [unknown[number] for number in sorted(needed & unknown.keys())]:
            raise InvalidSubmission(missing)
        file.seek(0)
        with target.open("wb") as out:
            out.write(file.read(26))
            out.write(cram_blocks.header_container(text, version[0]))
            file.seek(first.body_at + first.length)
            shutil.copyfileobj(file, out, 1 << 20)
    return list(unknown.values())


def _references_needed(file: BinaryIO, container: cram_blocks.Container, major: int, contigs: int) -> set[int]:
    """The numbers of the contigs whose bases a container's reads lack."""
    required = cram_blocks.needs_reference(file, container, major)
    needed = set()
    for each in cram_blocks.slices(file, container, major):
        if not required or each.embedded or each.reference in (UNMAPPED, MULTIPLE):
            continue
        if not 0 <= each.reference < contigs:
            raise cram_blocks.damaged()
        if not any(each.md5):
            message = "A slice of the CRAM has no checksum of the reference bases that it needs."
            raise UnreadableFileError(Reason.UNREADABLE_FILE, message)
        needed.add(each.reference)
    return needed


def _clean(text: bytes) -> tuple[list[tuple[str, int, str]], bytes]:
    """The contigs (name, length, MD5 or nothing) and a new header with them and the names of read groups."""
    contigs: list[tuple[str, int, str]] = []
    lines = ["@HD\tVN:1.6\tSO:unknown"]
    groups: dict[str, None] = {}
    for line in text.rstrip(b"\x00").decode("ascii", "replace").splitlines():
        kind, *fields = line.split("\t")
        tags: dict[str, str] = {}
        for field in fields:
            tags.setdefault(field[:2], field[3:])
        if kind == "@SQ":
            contigs.append(_contig(tags))
        elif kind == "@RG" and _NAME.fullmatch(tags.get("ID", "")):
            groups[tags["ID"]] = None
    if len({name for name, _, _ in contigs}) != len(contigs):
        raise cram_blocks.damaged()
    for name, length, md5 in contigs:
        lines.append(f"@SQ\tSN:{name}\tLN:{length}" + (f"\tM5:{md5}" if md5 else ""))
    lines += [f"@RG\tID:{name}" for name in groups]
    return contigs, "".join(f"{line}\n" for line in lines).encode()


def _contig(tags: dict[str, str]) -> tuple[str, int, str]:
    name, length, md5 = tags.get("SN", ""), tags.get("LN", ""), tags.get("M5", "").lower()
    if not _NAME.fullmatch(name) or not re.fullmatch("[1-9][0-9]{0,9}", length):
        raise cram_blocks.damaged()
    return name, int(length), md5 if _MD5.fullmatch(md5) else ""
