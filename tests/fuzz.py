"""Valid files, damaged at random, against validation: `make fuzz N=1000000`.

Case n is always the same case. Whatever comes in, the answer is reads or an InvalidSubmission; reads
that are accepted are those that another, simple parser finds. Cases run in forked children, so that a
crash or a hang ends none but its child; the next run goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
import faulthandler
import gzip
import os
import random
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pysam
import zstandard

from readvault.domain.errors import InvalidSubmission
from readvault.domain.organism import FileCategory
from readvault.reads.sample import InputFile
from readvault.reads.validate.validation import validate
from tests.data.bad_inputs import aligned, cram, fastq
from tests.data.bad_inputs.row import PACKINGS, bgzf

BATCH = 250
LONGEST = 60.0
"""Seconds that a case may take."""
STATE = Path(".fuzz") / "next"
Reads = Counter[tuple[bytes, bytes, bytes]]
_COMPLEMENT = bytes.maketrans(b"ACGTUNRYKMBDHVacgtunrykmbdhv", b"TGCAANYRMKVHDBtgcaanyrmkvhdb")
_TO_BASES = bytes.maketrans(b"acgtunrykmswbdhvU.", b"ACGTTNRYKMSWBDHVTN")


@dataclass(frozen=True)
class Case:
    """Files (label -> bytes) and how to read them otherwise."""

    kind: str
    files: dict[str, bytes]


def case(number: int) -> Case:
    """Case `number`: a valid file of one kind, with up to four changes, before or after it is packed."""
    dice = random.Random(number)
    kinds = [*PACKINGS, *(f"pair {packing}" for packing in PACKINGS), "SAM", "SAM gzip", "BAM"]
    # One case in fifty is a CRAM: each takes a process.
    kind = "CRAM" if number % 50 == 49 else kinds[number % len(kinds)]
    inside = dice.random() < 0.5
    if kind == "CRAM":
        options = dice.choice([("version=3.0",), ("version=3.1",), ("version=2.1",), ("embed_ref=1",), ("no_ref=1",)])
        return Case(kind, {"x.cram": changed(cram.cram(*options), dice)})
    if kind == "BAM":
        data = aligned.bam()
        return Case(kind, {"x.bam": bgzf(changed(data, dice)) if inside else changed(bgzf(data), dice)})
    if kind.startswith("SAM"):
        data = changed(aligned.sam(), dice) if inside else aligned.sam()
        data = gzip.compress(data, mtime=0) if "gzip" in kind else data
        return Case(kind, {"x.sam.gz" if "gzip" in kind else "x.sam": data if inside else changed(data, dice)})
    ending, pack = PACKINGS[kind.removeprefix("pair ")]
    count = dice.choice((1, 3, 12))
    labels = {"a_R1": 1, "a_R2": 2} if kind.startswith("pair") else {"a": 1}
    texts = {label: fastq.text(fastq.records("r{}/" + str(mate), count, mate)) for label, mate in labels.items()}
    hit = dice.choice(sorted(texts))
    if inside:
        texts[hit] = changed(texts[hit], dice)
    files = {label: pack(data) for label, data in texts.items()}
    if not inside:
        files[hit] = changed(files[hit], dice)
    return Case(kind, {f"{label}.fastq{ending}": data for label, data in files.items()})


def changed(data: bytes, dice: random.Random) -> bytes:
    """Data with up to four changes."""
    for _ in range(dice.choice((0, 1, 1, 1, 2, 4))):
        change = dice.choice(_CHANGES)
        at = dice.randrange(len(data) + 1)
        data = change(data, at, min(len(data), at + dice.choice((1, 1, 2, 4, 16, 60))), dice)
    return data


_SPECIAL = (b"\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\n", b"\r\n", b"\t", b"@", b"+", b"-", b"N")
_CHANGES: list[Callable[[bytes, int, int, random.Random], bytes]] = [
    lambda data, at, end, dice: data[:at] + dice.randbytes(end - at) + data[end:],
    lambda data, at, end, dice: data[:at] + bytes(byte ^ 1 << dice.randrange(8) for byte in data[at:end]) + data[end:],
    lambda data, at, end, dice: data[:at] + bytes(dice.choice(b"ACGTNacgF") for _ in range(end - at)) + data[end:],
    lambda data, at, end, dice: data[:at] + data[end:],
    lambda data, at, end, dice: data[:end] + data[at:end] * dice.randint(1, 5) + data[end:],
    lambda data, at, end, dice: data[:at] + dice.choice(_SPECIAL) + data[at:],
    lambda data, at, end, dice: data[:at] + dice.choice(_SPECIAL) + data[end:],
    lambda data, at, end, dice: data[:at],
    lambda data, at, end, dice: data + dice.randbytes(end - at),
    lambda data, at, end, dice: data + bytes(end - at),
]


def outcome(number: int, folder: Path, reference: Path) -> str:
    """`accepted`, `refused`, or what is wrong."""
    tried = case(number)
    inputs = []
    for place, (label, data) in enumerate(tried.files.items()):
        path = folder / f"input{place}"
        path.write_bytes(data)
        inputs.append(InputFile(path, label))
    (scratch := folder / "scratch").mkdir()
    try:
        found, report = validate(
            inputs, rules=FileCategory(), platform=None, directory=scratch, references=(reference,)
        )
    except InvalidSubmission as refusal:
        return "refused" if refusal.annotations else "WRONG: refused without a word"
    except Exception as fault:
        return f"WRONG: {type(fault).__name__}: {fault}"
    given: Reads = Counter()
    for path in (*found.r1, *found.r2):
        given += of_fastq(path.read_bytes())
    if tried.kind == "CRAM":
        expected = of_cram(inputs[0].path, reference)
    elif tried.kind == "BAM":
        expected = of_bam(unpacked(inputs[0].path.read_bytes()))
    elif tried.kind.startswith("SAM"):
        expected = of_sam(unpacked(inputs[0].path.read_bytes()))
    else:
        expected = sum((of_fastq(each.path.read_bytes()) for each in inputs), Counter())
    left_out = sum((expected - given).values())
    if given - expected or (left_out and not any("left out" in each.message for each in report.warnings)):
        return "WRONG: accepted reads are not those of the file"
    return "accepted"


def unpacked(data: bytes) -> bytes:
    """What gzip or zstd data hold; other data as they are. Zeros may follow a gzip."""
    if data.startswith(b"\x1f\x8b"):
        pieces = []
        while data.startswith(b"\x1f\x8b"):
            member = zlib.decompressobj(wbits=31)
            pieces.append(member.decompress(data))
            data = member.unused_data.lstrip(b"\0")
        return b"".join(pieces)
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as stream:
            return stream.read()
    return data


def of_fastq(data: bytes) -> Reads:
    """Name, bases and qualities of each record, by its four lines."""
    lines = [line.rstrip(b"\r") for line in unpacked(data).split(b"\n")]
    return Counter(
        (lines[at][1:].replace(b"\t", b" ").split(b" ")[0], lines[at + 1].translate(_TO_BASES), lines[at + 3])
        for at in range(0, len(lines) - 3, 4)
    )


def of_sam(data: bytes) -> Reads:
    """The same of each primary record."""
    reads: Reads = Counter()
    header = True
    for line in data.split(b"\n"):
        header = header and line.startswith(b"@")
        if header or not line:
            continue
        columns = line.rstrip(b"\r").split(b"\t")
        if not int(columns[1]) & 0x900:
            reads[_turned(columns[0], columns[9], columns[10], int(columns[1]))] += 1
    return reads


def of_bam(data: bytes) -> Reads:
    """The same of each primary record, by the specification."""
    at = 8 + int.from_bytes(data[4:8], "little")
    references = int.from_bytes(data[at : at + 4], "little")
    at += 4
    for _ in range(references):
        at += 8 + int.from_bytes(data[at : at + 4], "little")
    reads: Reads = Counter()
    while at < len(data):
        size, _, _, name_size, _, _, cigars, flag, bases, *_ = struct.unpack_from("<iiiBBHHHiiii", data, at)
        name_at = at + 36
        bases_at = name_at + name_size + 4 * cigars
        packed = data[bases_at : bases_at + (bases + 1) // 2]
        sequence = bytes(b"=ACMGRSVTWYHKDBN"[nibble] for byte in packed for nibble in (byte >> 4, byte & 15))[:bases]
        scores = data[bases_at + len(packed) : bases_at + len(packed) + bases]
        if not flag & 0x900:
            name = data[name_at : name_at + name_size - 1]
            reads[_turned(name, sequence, bytes(score + 33 for score in scores), flag)] += 1
        at += 4 + size
    return reads


def of_cram(path: Path, reference: Path) -> Reads:
    """The same, as htslib reads the file when it gets the reference."""
    reads: Reads = Counter()
    with pysam.AlignmentFile(str(path), "rc", check_sq=False, reference_filename=str(reference)) as file:
        for each in file.fetch(until_eof=True):
            if not each.flag & 0x900:
                quality = bytes(score + 33 for score in each.query_qualities)
                reads[_turned(each.query_name.encode(), each.query_sequence.encode(), quality, each.flag)] += 1
    return reads


def _turned(name: bytes, sequence: bytes, quality: bytes, flag: int) -> tuple[bytes, bytes, bytes]:
    if flag & 0x10:
        sequence, quality = sequence.translate(_COMPLEMENT)[::-1], quality[::-1]
    return name.split(b" ")[0], sequence.translate(_TO_BASES), quality


def run(numbers: range, say: Callable[[str], None] = print) -> tuple[Counter[str], list[str]]:
    """Run these cases; how many ended how, and what is wrong."""
    ended: Counter[str] = Counter()
    wrong: list[str] = []
    at = numbers.start
    while at < numbers.stop:
        stop = min(at + BATCH, numbers.stop)
        for number, said in _batch(range(at, stop)):
            ended[said.split(":")[0]] += 1
            if said.startswith("WRONG"):
                wrong.append(f"case {number} ({case(number).kind}): {said}")
                say(wrong[-1])
            at = number + 1
    return ended, wrong


def _batch(numbers: range) -> list[tuple[int, str]]:
    """Cases in one forked child; the one in which it dies or hangs is the last that is told of."""
    reading, writing = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        pid = os.fork()
        if pid == 0:
            try:
                os.close(reading)
                _work(numbers, Path(folder), writing)
            finally:
                os._exit(0)
        os.close(writing)
        told = _listen(reading, pid)
        _, status = os.waitpid(pid, 0)
    if len(told) < len(numbers):
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"code {status}"
        told.append((numbers.start + len(told), f"WRONG: crashed or hung, {how}"))
    return told


def _work(numbers: range, folder: Path, writing: int) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)
    faulthandler.disable()  # pytest's writes to the terminal all the same
    reference = folder / "reference.fa"
    reference.write_text(f">ref\n{aligned.REFERENCE}\n")
    for number in numbers:
        (room := folder / str(number)).mkdir()
        said = outcome(number, room, reference)
        shutil.rmtree(room)
        os.write(writing, f"{number}\t{' '.join(said.split())[:300]}\n".encode())


def _listen(reading: int, pid: int) -> list[tuple[int, str]]:
    """What the child tells, until it ends; one that is silent for too long is killed."""
    told = bytearray()
    last = time.monotonic()
    while True:
        ready, _, _ = select.select([reading], [], [], 1.0)
        if not ready:
            if time.monotonic() - last > LONGEST:
                os.kill(pid, signal.SIGKILL)
            continue
        if not (data := os.read(reading, 1 << 16)):
            break
        told += data
        last = time.monotonic()
    os.close(reading)
    rows = [line.split("\t", 1) for line in told.decode().splitlines()]
    return [(int(number), said) for number, said in rows]


def main() -> int:
    """Run as many cases as are asked for, from where the last run stopped; 0 when none is wrong."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cases", type=int, default=5000)
    options.add_argument("--start", type=int, help="the first case; else the one after the last run's")
    chosen = options.parse_args()
    start = chosen.start
    if start is None:
        start = int(STATE.read_text()) if STATE.is_file() else 0
    total: Counter[str] = Counter()
    wrong: list[str] = []
    stop = start + chosen.cases
    for at in range(start, stop, 10_000):
        ended, found = run(range(at, min(at + 10_000, stop)))
        total += ended
        wrong += found
        STATE.parent.mkdir(exist_ok=True)
        STATE.write_text(str(min(at + 10_000, stop)))
        print(f"cases {start} to {min(at + 10_000, stop) - 1}: {dict(total)}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
