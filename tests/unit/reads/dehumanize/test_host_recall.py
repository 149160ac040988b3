"""The figures about the screen are of the pipeline's own step, and stand in the docs as the command wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest

from readvault.cli.host_index import RECALL_MARK
from readvault.reads.dehumanize import host_index, host_recall
from tests.unit.reads.fastq_maker import bases, write

PAGE = Path(__file__).parents[4] / "docs" / "human-reads.md"


def test_every_read_is_found_published_or_too_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the host all that can be looked up is found; of an index with half of the host about half is."""
    monkeypatch.setattr(host_recall, "ERRORS", (0.0,))
    genome = bases(6000, seed=5)
    host = write(tmp_path / "host.fasta", f">h\n{genome}\n")
    virus = write(tmp_path / "virus.fasta", f">v\n{bases(3000, seed=6)}\n")
    half = host_index.build(write(tmp_path / "half.fasta", f">h\n{genome[:3000]}\n"), tmp_path / "half.idx").path
    found = list(host_recall.measure(host, virus, half, templates=200, seed=3, lengths=(44, 60)))
    assert [(each.human, each.paired, each.length) for each in found] == [
        (human, paired, length) for human in (True, False) for paired in (False, True) for length in (44, 60)
    ]
    assert all(each.removed + each.unscreenable + each.published == each.templates == 200 for each in found)
    assert all((each.unscreenable == 200) is (each.length == 44) for each in found)
    for each in found:
        if each.length == 60:
            assert each.removed == 0 if not each.human else 70 < each.removed < 130
    assert found == list(host_recall.measure(host, virus, half, templates=200, seed=3, lengths=(44, 60)))
    text = host_recall.as_markdown(found)
    assert "| 44 | left out | left out |" in text
    assert f"| 60 | {found[1].removed / 2:.1f} |" in text


def test_a_genome_shorter_than_a_fragment_is_refused(tmp_path: Path) -> None:
    short = write(tmp_path / "s.fasta", f">s\n{bases(299)}N{bases(299)}\n")
    with pytest.raises(ValueError, match="300 bases"):
        list(host_recall.measure(short, short, short, templates=100, seed=1))


def test_the_page_has_the_figures_of_every_length_that_is_measured() -> None:
    tables = PAGE.read_text(encoding="utf-8").split(RECALL_MARK)[1]
    for length in host_recall.LENGTHS:
        assert tables.count(f"\n| {length} | ") == 2
