"""deacon, run on one lane of reads: what it keeps comes back through pipes, and its counts must add up.

How many hits it takes follows the length of the read. One distinct minimizer is enough up to about
850 bases (of both mates together); above, one percent of the read's minimizers. deacon's own default
of two hits misses most human reads of 50 bases and, with one percent of errors, an eighth of those
of 75. The panhuman index has all k-mers that RefSeq viruses share subtracted, so a single hit is no
accident there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from readvault.domain.errors import ProcessingFailure
from readvault.domain.organism import Dehumanize
from readvault.reads.dehumanize import host_index
from readvault.reads.validate.fastq_stream import PIPE_SIZE, Window, arriving

STEP = "dehumanize"
HITS = 1
SHARE_OF_MINIMIZERS = 0.01
_COUNTS = ("seqs_in", "seqs_out", "seqs_removed", "bp_in", "bp_out", "bp_removed")


@dataclass(frozen=True, slots=True)
class Screened:
    """What deacon says it did with a lane; a pair is two reads."""

    reads_in: int
    reads_out: int
    reads_removed: int
    bases_removed: int


@dataclass(slots=True)
class HostScreen:
    """deacon with a loaded index. `shortest` is the shortest read, in bases, that it can look up."""

    index: Any
    directory: Path
    threads: int
    shortest: int
    _fault: list[BaseException] = field(default_factory=list)
    _summary: dict[str, int] = field(default_factory=dict)

    @classmethod
    def with_index(cls, path: Path, rules: Dehumanize, directory: Path, threads: int) -> HostScreen:
        """Load the index; raises ProcessingFailure when it is not the one that `rules` pin."""
        shortest = host_index.info(path).shortest_screenable
        if rules.sha256 is not None and host_index.digest(path) != rules.sha256:
            raise ProcessingFailure(STEP, "the host index has another SHA-256 than the one that is pinned")
        return cls(host_index.load(path), directory, threads, shortest)

    def kept(self, mates: tuple[Path, ...]) -> Iterator[tuple[Window, ...]]:
        """The records of a file, or of a pair of files, that do not hit the host, in their order.

        The caller uses as many whole records of each mate as there are. Raises ProcessingFailure when
        deacon stops.
        """
        self._fault.clear()
        self._summary.clear()
        with ExitStack() as cleanup:
            pipes = [cleanup.enter_context(_Pipe(self.directory / f"deacon-{n}.fastq")) for n in range(len(mates))]
            thread = threading.Thread(target=self._filter, args=(mates, pipes), name="deacon", daemon=True)
            thread.start()
            try:
                yield from arriving([pipe.reader for pipe in pipes])
            finally:
                for pipe in pipes:
                    pipe.stop_reading()  # a screen that nobody reads any more must end
                thread.join()
        if self._fault:
            raise ProcessingFailure(STEP, f"deacon stopped ({type(self._fault[0]).__name__})") from None

    def account(self, arrived: int) -> Screened:
        """The counts of the last lane; raises ProcessingFailure unless every read is accounted for.

        `arrived` counts the reads that `kept` gave.
        """
        came, out, removed = (self._summary[key] for key in ("seqs_in", "seqs_out", "seqs_removed"))
        bases_in, bases_out, bases_removed = (self._summary[key] for key in ("bp_in", "bp_out", "bp_removed"))
        if came != out + removed or out != arrived or bases_in != bases_out + bases_removed:
            cause = f"reads are not accounted for: {came} in, {out} kept, {removed} removed, {arrived} arrived"
            raise ProcessingFailure(STEP, cause)
        return Screened(came, out, removed, bases_removed)

    def _filter(self, mates: tuple[Path, ...], pipes: list[_Pipe]) -> None:
        second = {"input2": str(mates[1]), "output2": str(pipes[1].path)} if len(mates) == 2 else {}
        try:
            summary = self.index.filter(
                str(mates[0]),
                output=str(pipes[0].path),
                deplete=True,
                ordered=True,  # otherwise the order, and with it every name, is random
                rename=True,
                abs_threshold=HITS,
                rel_threshold=SHARE_OF_MINIMIZERS,
                threads=self.threads,
                **second,
            )
            self._summary |= {key: summary[key] for key in _COUNTS}
        except BaseException as fault:  # a panic of the native code is a BaseException
            self._fault.append(fault)
        finally:
            for pipe in pipes:
                pipe.no_more()


class _Pipe:
    """A named pipe for deacon's output: nothing of a read that is not kept ever lies on the disk.

    We hold a writing end open ourselves, so that the reader waits for deacon and still ends when
    deacon never opens the pipe.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
        self.reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._writer = os.open(path, os.O_WRONLY)
        os.set_blocking(self.reader, True)
        self._reading = True
        with contextlib.suppress(OSError):  # a wider pipe only saves switches
            fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, PIPE_SIZE)

    def stop_reading(self) -> None:
        """Close the reading end."""
        if self._reading:
            os.close(self.reader)
            self._reading = False

    def no_more(self) -> None:
        """Close our writing end: the reader sees the end once deacon has closed its own."""
        os.close(self._writer)

    def __enter__(self) -> _Pipe:
        return self

    def __exit__(self, *fault: object) -> None:
        self.stop_reading()
        self.path.unlink()
