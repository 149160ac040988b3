"""Organism files mean what they say."""

from __future__ import annotations

from pathlib import Path

from readvault.config import load_organism


def test_off_and_no_are_words_and_not_truth_values(tmp_path: Path) -> None:
    (tmp_path / "reference.fasta").write_text(">main\nACGT\n")
    (tmp_path / "organism.yaml").write_text(
        "name: words\n"
        "reference: {fasta: reference.fasta}\n"
        "metadata: [{name: country, options: [NO, SE]}, {name: date, required: true}]\n"
        "pipeline: {dehumanize: {off: cell culture without reads of people}}\n"
    )
    organism = load_organism(tmp_path / "organism.yaml")
    assert organism.pipeline.dehumanize.off == "cell culture without reads of people"
    assert organism.metadata[0].options == ("NO", "SE")
    assert organism.metadata[1].required is True
