"""Of a real sample with human reads in it, no public byte tells of them, nor of where it came from."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pysam
import pytest

from readvault.config import load_organism
from readvault.domain.organism import Organism
from readvault.local_job import LocalJob
from readvault.pipeline import run
from readvault.reads.dehumanize import host_index
from readvault.reads.sample import InputFile, Sample
from tests import silo_maker
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

WORD = 40
"""Bases of a stretch of a human read that is searched for; none such is in the virus by chance."""
BASES = re.compile(f"[ACGT]{{{WORD},}}")
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def _fastq(path: Path) -> list[tuple[str, str]]:
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    return [(name[1:].split()[0], sequence) for name, sequence in zip(lines[0::4], lines[1::4], strict=False) if name]


def _words(sequence: str) -> set[str]:
    forward = {sequence[at : at + WORD] for at in range(0, len(sequence) - WORD + 1, 10)}
    return {word for word in forward | {w.translate(COMPLEMENT)[::-1] for w in forward} if "N" not in word}


def _text(path: Path) -> str:
    """All that a file says, decompressed; of a BAM all fields of all reads and the header."""
    if path.suffix == ".bam":
        with pysam.AlignmentFile(str(path), check_sq=False) as bam:
            return str(bam.header) + "\n".join(read.to_string() for read in bam.fetch(until_eof=True))
    if path.suffix == ".zst":
        return silo_maker.unpacked(path).decode("ascii")
    content = path.read_bytes()
    return (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("latin-1")


def test_no_public_file_holds_a_human_read_or_a_name_of_the_submitters(shared_data: Path, tmp_path: Path) -> None:
    spiked, human = shared_data / "dev" / "sc2_spiked_human", shared_data / "dev" / "human"
    index = tmp_path / "host.idx"
    host_index.build(human / "human_chr22_40kb.fasta.gz", index)
    organism: Organism = load_organism(REPOSITORY / "deployments" / "organisms" / "sars-cov-2.yaml")
    out, work = tmp_path / "out", tmp_path / "work"
    out.mkdir()
    work.mkdir()
    inputs = tuple(InputFile(spiked / name, name) for name in ("spiked_R1.fastq.gz", "spiked_R2.fastq.gz"))
    run(LocalJob(Sample("LOC_000001Y.1", organism, inputs, work, host_index=index), out))

    names = set((spiked / "truth_human_read_names.txt").read_text().split())
    reads = [read for file in inputs for read in _fastq(file.path)]
    words = {
        word
        for name, sequence in reads
        if name.removesuffix("/1").removesuffix("/2") in names
        for word in _words(sequence)
    }
    assert len(words) > 3000
    public = [path for path in out.iterdir() if path.name != "result.json"]
    assert len(public) == 12
    kept = len(_fastq(out / "dehumanized_R1.fastq.gz"))
    assert kept >= 5492 - 499 - 1, "at most one viral pair may be lost"
    assert kept <= 5492 - 498, "at least 498 of the 499 human pairs must go"
    originals = {name for name, _ in reads}
    for path in public:
        text = _text(path)
        assert not [name for name in list(originals)[::25] + sorted(names) if name in text], path.name
        for secret in ("spiked", str(tmp_path), "2026-"):
            assert secret not in text, (path.name, secret)
        found = {
            stretch[at : at + WORD] for stretch in set(BASES.findall(text)) for at in range(len(stretch) - WORD + 1)
        } & words
        assert not found, path.name
