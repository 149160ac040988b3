"""The slow reading of a FASTQ file that is not right: what is wrong, in which record and line.

Keeps going after a fault: when the four lines of a record are out of place, it looks for the next
line that begins with `@` and has a `+` two lines below.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator

from readvault.domain.annotations import Annotation, Reason
from readvault.reads.validate.fastq_check import BASES, BEST_QUALITY, TITLE_CHARACTERS, WORST_QUALITY
from readvault.reads.validate.fastq_stream import LONGEST_LINE
from readvault.reads.validate.formats import Decompressed, UnreadableFileError

MOST_FAULTS = 1000
"""After so many faults of one file the rest is not read."""
_FOUR_LINES = "a record must have exactly four lines (title, bases, '+', qualities)."


class _Lines:
    """The lines of a stream without their ends, with a look ahead."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._ahead: deque[bytes] = deque()
        self.number = 0

    def take(self) -> bytes | None:
        """The next line, None at the end."""
        line = self.peek(0)
        if line is not None:
            self._ahead.popleft()
            self.number += 1
        return line

    def peek(self, distance: int) -> bytes | None:
        """The line that comes `distance` lines after the next."""
        while len(self._ahead) <= distance:
            line = self._stream.readline(LONGEST_LINE + 2)
            if not line:
                return None
            if not line.endswith(b"\n") and len(line) > LONGEST_LINE:
                raise UnreadableFileError(
                    Reason.RECORD_TOO_LONG, f"A line is longer than {LONGEST_LINE:,} characters; no read is."
                )
            self._ahead.append(line.removesuffix(b"\n").rstrip(b"\r"))
        return self._ahead[distance]


def find_faults(stream: Decompressed, label: str) -> list[Annotation]:
    """All faults of a FASTQ file, at most `MOST_FAULTS`, with 1-based record and line."""
    found: list[Annotation] = []
    lines = _Lines(io.BufferedReader(stream, 1 << 20))
    finder = _Finder(lines, label)
    try:
        for fault in finder.faults():
            found.append(fault)
            if len(found) == MOST_FAULTS:
                break
    except UnreadableFileError as fault:
        where = f" {finder.done} whole records came before." if finder.done else ""
        found.append(
            Annotation(fault.reason, fault.message + where, file=label, record=finder.done + 1, line=lines.number + 1)
        )
    return found


class _Finder:
    def __init__(self, lines: _Lines, label: str) -> None:
        self._lines = lines
        self._label = label
        self.record = 0
        self.done = 0

    def faults(self) -> Iterator[Annotation]:
        while (title := self._lines.take()) is not None:
            if title == b"":
                yield self._at(0, Reason.MALFORMED_RECORD, "A blank line.", record=self.record + 1)
                continue
            self.record += 1
            if not title.startswith(b"@"):
                yield self._at(0, Reason.MALFORMED_RECORD, _why_no_title(title))
                self._next_title()
            else:
                yield from self._faults_of_record(title)
            self.done = self.record

    def _at(self, offset: int, reason: Reason, message: str, *, record: int | None = None) -> Annotation:
        """A fault `offset` lines before the line that was taken last."""
        line = self._lines.number - offset
        return Annotation(reason, message, file=self._label, record=record or self.record, line=line)

    def _faults_of_record(self, title: bytes) -> Iterator[Annotation]:
        sequence, separator = self._lines.peek(0), self._lines.peek(1)
        if sequence is None or separator is None or (separator[:1] == b"+" and self._lines.peek(2) is None):
            while self._lines.take() is not None:
                pass
            yield self._at(0, Reason.TRUNCATED_FILE, "The file ends in the middle of a record; each has four lines.")
            return
        if not separator.startswith(b"+"):
            yield self._at(-2, Reason.MALFORMED_RECORD, _why_no_separator(sequence, separator))
            self._next_title()
            return
        for _ in range(3):
            quality = self._lines.take() or b""
        yield from self._title_faults(title, separator)
        yield from self._base_faults(sequence)
        if len(quality) < len(sequence) and (more := self._lines_that_complete(quality, sequence)):
            yield self._at(-1, Reason.MALFORMED_RECORD, f"The qualities go over more than one line; {_FOUR_LINES}")
            for _ in range(more):
                self._lines.take()
            return
        yield from self._quality_faults(sequence, quality)

    def _lines_that_complete(self, quality: bytes, sequence: bytes) -> int:
        """How many of the next lines make the qualities as long as the bases; 0 when they don't."""
        length, more = len(quality), 0
        while length < len(sequence) and (line := self._lines.peek(more)):
            length += len(line)
            more += 1
        following = self._lines.peek(more)
        return more if length == len(sequence) and (following is None or following.startswith(b"@")) else 0

    def _title_faults(self, title: bytes, separator: bytes) -> Iterator[Annotation]:
        if title[1:2] in (b"", b" ", b"\t"):
            yield self._at(3, Reason.MALFORMED_RECORD, "The read has no name: '@' must be followed by one.")
        if bad := title.translate(None, TITLE_CHARACTERS):
            yield self._at(3, Reason.MALFORMED_RECORD, f"{_shown(bad)} in the title line is not ASCII text.")
        if separator != b"+" and separator[1:] != title[1:]:
            yield self._at(
                1, Reason.MALFORMED_RECORD, "The text after '+' is not the read's name; nothing or the name may stand."
            )

    def _base_faults(self, sequence: bytes) -> Iterator[Annotation]:
        if not sequence:
            yield self._at(2, Reason.MALFORMED_RECORD, "The read has no bases.")
        if bad := sequence.translate(None, BASES):
            place = sequence.index(bad[:1]) + 1
            message = f"{_shown(bad)} at base {place} is no base; IUPAC letters are."
            yield self._at(2, Reason.INVALID_BASE, message)

    def _quality_faults(self, sequence: bytes, quality: bytes) -> Iterator[Annotation]:
        if len(quality) != len(sequence):
            message = f"The read has {len(sequence)} bases but {len(quality)} qualities."
            yield self._at(0, Reason.MALFORMED_RECORD, message)
        if bad := quality.translate(None, bytes(range(WORST_QUALITY, BEST_QUALITY + 1))):
            place = quality.index(bad[:1]) + 1
            message = f"{_shown(bad)} at place {place} is no quality; the characters from '!' to '~' are."
            yield self._at(0, Reason.INVALID_QUALITY, message)

    def _next_title(self) -> None:
        """Go on before the next line that looks like the beginning of a record."""
        while (line := self._lines.peek(0)) is not None:
            third = self._lines.peek(2)
            if line.startswith(b"@") and third is not None and third.startswith(b"+"):
                return
            self._lines.take()


def _shown(bad: bytes) -> str:
    """The first character, as a person can read it."""
    code = bad[0]
    return f"'{chr(code)}'" if 33 <= code <= 126 else f"The character with code {code}"


def _why_no_title(line: bytes) -> str:
    if line.startswith(b">"):
        return "The line begins with '>' as FASTA does; a FASTQ record begins with '@'."
    return "A record must begin with a line that starts with '@'."


def _why_no_separator(sequence: bytes, separator: bytes) -> str:
    if sequence.startswith(b"+"):
        return "The read has no line of bases between its title and '+'."
    if separator and not separator.translate(None, BASES):
        return f"The bases go over more than one line; {_FOUR_LINES}"
    return "The third line of a record must start with '+'."
