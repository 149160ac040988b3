"""What `readvault up` writes of its organisms follows their files and indexes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from readvault.cli.up import Readiness
from readvault.config import Settings
from readvault.db.engine import migrate


def test_an_index_that_comes_and_a_file_that_changes_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "organisms"
    folder.mkdir()
    (folder / "reference.fasta").write_text(">main\nACGTACGT\n")
    digest = hashlib.sha256(b"an index").hexdigest()
    pinned = f"pipeline: {{dehumanize: {{index: host, sha256: '{digest}'}}}}\n"
    (folder / "a.yaml").write_text(f"name: a\nreference: {{fasta: reference.fasta}}\n{pinned}")
    settings = Settings(data_dir=tmp_path / "data", organisms_dir=folder)
    settings.data_dir.mkdir()
    migrate(settings.database)
    readiness = Readiness(settings)
    readiness.look()
    assert "is not in" in readiness.states["a"]
    index = settings.host_indexes / "host.idx"
    index.parent.mkdir()
    index.write_bytes(b"an index")
    readiness.look()
    assert readiness.states == {"a": "ready"}
    (folder / "b.yaml").write_text(f"name: b\nreference: {{fasta: reference.fasta}}\n{pinned}")
    readiness.look()
    readiness.look()
    assert readiness.states == {"a": "ready", "b": "ready"}
    (folder / "b.yaml").write_text("nonsense: 1\n")
    readiness.look()
    readiness.look()
    assert readiness.states == {"a": "ready", "b": "ready"}
