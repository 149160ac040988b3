"""Which places of a reference a host index would take the reads of."""

from __future__ import annotations

from pathlib import Path

import pytest

from readvault.domain.errors import ProcessingFailure
from readvault.reads import kmers
from readvault.reads.dehumanize import host_index, host_overlap
from readvault.reads.sample import Segment
from tests.unit.reads.fastq_maker import bases, reverse_complement, write

HOST = bases(5000, seed=21)
VIRUS = bases(2000, seed=22)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return host_index.build(write(tmp_path / "host.fasta", f">h\n{HOST}\n"), tmp_path / "host.idx").path


def test_places_that_host_and_virus_share_are_found_on_both_strands(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """31 bases are one k-mer, fewer are none; an unknown base breaks a place in two."""
    monkeypatch.setattr(kmers.blocks, "__kwdefaults__", {"at_once": 100})
    piece = HOST[300:380]
    sequence = VIRUS[:500] + reverse_complement(piece) + VIRUS[500:1000] + HOST[1000:1031] + VIRUS[1000:1500]
    clean = Segment("clean", VIRUS[:1000] + HOST[2000:2026] + VIRUS[1000:])
    broken = Segment("broken", VIRUS[:200] + HOST[3000:3040] + "N" + HOST[3041:3081])
    found = host_overlap.overlaps(index, [Segment("shared", sequence), clean, broken])
    assert found[0].segment == "shared"
    assert found[0].places == ((501, 580), (1081, 1111))
    assert (found[0].kmers, found[0].positions, found[0].length) == (50 + 1, 80 + 31, len(sequence))
    reads = [sequence[at : at + 150] for at in range(len(sequence) - 149)]
    held = [any(window in read for window in _windows(sequence, found[0].places)) for read in reads]
    assert found[0].reads_lost == pytest.approx(sum(held) / len(held))
    assert (found[1].kmers, found[1].positions, found[1].places, found[1].reads_lost) == (0, 0, (), 0)
    assert found[2].places == ((201, 240), (242, 281))


def _windows(sequence: str, places: tuple[tuple[int, int], ...]) -> list[str]:
    return [sequence[at : at + 31] for start, end in places for at in range(start - 1, end - 30)]


def test_a_segment_shorter_than_a_k_mer_or_a_read_is_told_too(index: Path) -> None:
    tiny, small = host_overlap.overlaps(index, [Segment("tiny", HOST[:30]), Segment("small", HOST[:40])])
    assert (tiny.kmers, tiny.reads_lost) == (0, 0)
    assert (small.kmers, small.places, small.reads_lost) == (10, ((1, 40),), 1)


def test_half_an_index_is_no_index(index: Path) -> None:
    index.write_bytes(index.read_bytes()[:-4])
    with pytest.raises(ProcessingFailure):
        host_overlap.overlaps(index, [Segment("v", VIRUS)])
