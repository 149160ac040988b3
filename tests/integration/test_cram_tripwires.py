"""A forged CRAM opens no file of ours, no connection, and gives nobody's bases away."""

from __future__ import annotations

import ctypes
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pysam
import pytest

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import InvalidSubmission
from readvault.domain.organism import FileCategory
from readvault.reads.sample import InputFile
from readvault.reads.validate.validation import validate
from tests.cram_maker import record, with_header, without_slice_checksums, write_cram
from tests.unit.reads.fastq_maker import bases, records_of

LENGTH = 3000
VICTIM, OURS = bases(LENGTH, 1), bases(LENGTH, 2)
IN_OPEN = 0x20


def md5(sequence: str) -> str:
    return hashlib.md5(sequence.encode(), usedforsecurity=False).hexdigest()


class Tripwires:
    """A FASTA of somebody else that is watched, and a server that nobody may call."""

    def __init__(self, folder: Path) -> None:
        self.victim = folder / "victim.fa"
        self.victim.write_text(f">ref\n{VICTIM}\n")
        pysam.faidx(str(self.victim))
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.calls = 0
        threading.Thread(target=self._listen, daemon=True).start()
        libc = ctypes.CDLL(None, use_errno=True)
        self._watch = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._watch, os.fsencode(self.victim), IN_OPEN) >= 0

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            self.calls += 1
            connection.close()

    def opened(self) -> bool:
        """Whether the victim was opened since the last question."""
        try:
            return bool(os.read(self._watch, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        self.server.close()
        os.close(self._watch)


@pytest.fixture
def tripwires(tmp_path: Path) -> Iterator[Tripwires]:
    (folder := tmp_path / "elsewhere").mkdir()
    made = Tripwires(folder)
    yield made
    made.close()


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    path = tmp_path / "ours.fa"
    path.write_text(f">ref\n{OURS}\n")
    return path


def forged(tmp_path: Path, tripwires: Tripwires, *options: str) -> Path:
    """A CRAM whose reads are the victim's bases: they stand in no byte of it."""
    reads = [record(f"r{n}", VICTIM[n * 100 : n * 100 + 150], position=n * 100 + 1) for n in range(20)]
    header = {"SQ": [{"SN": "ref", "LN": LENGTH}]}
    cram = write_cram(tmp_path / "forged.cram", tripwires.victim, header, reads, *options)
    tripwires.opened()
    return cram


HEADERS = {
    "absolute": "M5:{theirs}\tUR:{victim}",
    "relative": "M5:{theirs}\tUR:../elsewhere/victim.fa",
    "in the working directory": "M5:{theirs}\tUR:victim.fa",
    "file:": "M5:{theirs}\tUR:file:{victim}",
    "file://": "M5:{theirs}\tUR:file://{victim}",
    "file://localhost": "M5:{theirs}\tUR:file://localhost{victim}",
    "http": "M5:{theirs}\tUR:http://127.0.0.1:{port}/victim.fa",
    "https": "M5:{theirs}\tUR:https://127.0.0.1:{port}/victim.fa",
    "ftp": "M5:{theirs}\tUR:ftp://127.0.0.1:{port}/victim.fa",
    "s3": "M5:{theirs}\tUR:s3://bucket/victim.fa",
    "s3 over http": "M5:{theirs}\tUR:s3+http://127.0.0.1:{port}/victim.fa",
    "gs": "M5:{theirs}\tUR:gs://bucket/victim.fa",
    "no scheme": "M5:{theirs}\tUR://127.0.0.1:{port}/victim.fa",
    "two UR": "M5:{theirs}\tUR:nothing\tUR:{victim}",
    "lower case": "M5:{theirs}\tur:{victim}",
    "preload": "M5:{theirs}\tUR:preload:{victim}",
    "UR before SN": "UR:{victim}\tM5:{theirs}",
    "no M5": "UR:{victim}",
    "M5 is a path": "M5:../../elsewhere/victim.fa\tUR:{victim}",
    "M5 is absolute": "M5:{victim}\tUR:{victim}",
    "M5 is an address": "M5:http://127.0.0.1:{port}/x",
    "two M5": "M5:{ours}\tM5:{theirs}\tUR:{victim}",
    "our M5": "M5:{ours}\tUR:{victim}",
    "our M5 in capitals": "M5:{OURS}\tUR:{victim}",
}


def outcome(directory: Path, cram: Path, ours: Path) -> tuple[tuple[Annotation, ...], list[str]]:
    """The faults, and the bases that came out."""
    try:
        found, _ = validate(
            [InputFile(cram, "x.cram")], rules=FileCategory(), platform=None, directory=directory, references=(ours,)
        )
    except InvalidSubmission as refusal:
        return refusal.annotations, []
    return (), [each[1] for path in (*found.r1, *found.r2) for each in records_of(path)]


@pytest.mark.parametrize("checksums", ["slice checksums blanked", "slice checksums as they were"])
@pytest.mark.parametrize("variant", HEADERS)
def test_no_path_and_no_address_of_a_cram_is_followed(
    tmp_path: Path, tripwires: Tripwires, ours: Path, variant: str, checksums: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tripwires.victim.parent)
    monkeypatch.setenv("REF_PATH", f"http://127.0.0.1:{tripwires.port}/%s")
    cram = forged(tmp_path, tripwires, "version=3.0")
    tags = HEADERS[variant].format(
        theirs=md5(VICTIM), ours=md5(OURS), OURS=md5(OURS).upper(), victim=tripwires.victim, port=tripwires.port
    )
    with_header(cram, f"@HD\tVN:1.6\n@SQ\tSN:ref\tLN:{LENGTH}\t{tags}\n@CO\tUR:{tripwires.victim}\n")
    if "blanked" in checksums:
        without_slice_checksums(cram)
    (scratch := tmp_path / "scratch").mkdir()
    faults, sequences = outcome(scratch, cram, ours)
    assert faults
    assert not sequences
    assert faults[0].reason in (Reason.UNKNOWN_REFERENCE, Reason.UNREADABLE_FILE)
    assert not tripwires.opened()
    assert tripwires.calls == 0


def test_the_tripwire_works_htslib_alone_walks_into_it(tmp_path: Path, tripwires: Tripwires) -> None:
    """Without what we do, the forged file is decoded into the victim's bases."""
    cram = without_slice_checksums(forged(tmp_path, tripwires, "version=3.0"))
    with_header(cram, f"@HD\tVN:1.6\n@SQ\tSN:ref\tLN:{LENGTH}\tM5:{md5(OURS)}\tUR:{tripwires.victim}\n")
    with pysam.AlignmentFile(str(cram), check_sq=False) as records:
        assert next(iter(records)).query_sequence == VICTIM[:150]
    assert tripwires.opened()


def test_a_slice_of_several_contigs_has_no_checksum_and_gets_our_reference_only(
    tmp_path: Path, tripwires: Tripwires, ours: Path
) -> None:
    cram = forged(tmp_path, tripwires, "version=3.0", "multi_seq_per_slice=1")
    with_header(cram, f"@HD\tVN:1.6\n@SQ\tSN:ref\tLN:{LENGTH}\tM5:{md5(OURS)}\tUR:{tripwires.victim}\n")
    _, sequences = outcome(tmp_path, cram, ours)
    assert not {VICTIM[n * 100 : n * 100 + 150] for n in range(20)} & set(sequences)
    assert not tripwires.opened()


@pytest.mark.parametrize("option", ["embed_ref=1", "embed_ref=2", "no_ref=1"])
def test_a_cram_that_brings_its_reference_along_is_read_wherever_its_header_points(
    tmp_path: Path, tripwires: Tripwires, ours: Path, option: str
) -> None:
    cram = forged(tmp_path, tripwires, "version=3.0", option)
    with_header(cram, f"@HD\tVN:1.6\n@SQ\tSN:ref\tLN:{LENGTH}\tM5:{md5(VICTIM)}\tUR:{tripwires.victim}\n")
    faults, sequences = outcome(tmp_path, cram, ours)
    assert faults == ()
    assert sequences == [VICTIM[n * 100 : n * 100 + 150] for n in range(20)]
    assert not tripwires.opened()
