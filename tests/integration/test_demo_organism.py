"""`readvault up --demo-organism` beside organism files that lie in a folder of somebody's own."""

from __future__ import annotations

from pathlib import Path

from readvault import demo_organism
from readvault.config import Settings


def test_the_demo_organism_needs_no_reference_beside_the_organism_files(tmp_path: Path) -> None:
    elsewhere = tmp_path / "mine" / "organisms"
    elsewhere.mkdir(parents=True)
    chosen = Settings(data_dir=tmp_path / "data", organisms_dir=elsewhere, load_demo_organism=True)

    demo_organism.prepare(chosen)

    (reference,) = demo_organism.load(chosen).candidates
    assert reference.fasta.is_file()


def test_a_reference_beside_the_organism_files_is_taken_first(tmp_path: Path) -> None:
    elsewhere = tmp_path / "organisms"
    elsewhere.mkdir()
    own = tmp_path / "references" / demo_organism.REFERENCE
    own.parent.mkdir()
    own.write_text(">own\n" + "ACGT" * 100 + "\n", encoding="utf-8")
    chosen = Settings(data_dir=tmp_path / "data", organisms_dir=elsewhere, load_demo_organism=True)

    demo_organism.prepare(chosen)

    (reference,) = demo_organism.load(chosen).candidates
    assert reference.fasta == own
