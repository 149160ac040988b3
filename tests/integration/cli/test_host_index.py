"""`readvault host-index build` says in one line what is wrong, and leaves nothing behind."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from typer.testing import CliRunner

from readvault.cli.main import EXIT_USAGE, app
from readvault.domain.errors import NotReady
from tests.unit.reads.fastq_maker import bases, reads


@pytest.mark.parametrize("content", [b"", reads(9).encode(), b">short\nACGT\n"])
def test_what_holds_no_sequences_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "host.fasta").write_bytes(content)
    target = tmp_path / "host.idx"
    result = CliRunner().invoke(app, ["host-index", "build", str(tmp_path / "host.fasta"), "-o", str(target)])
    assert result.exit_code == EXIT_USAGE
    assert "FASTA" in result.stderr
    assert not target.exists()


def test_a_cut_file_is_told_and_not_indexed_by_half(tmp_path: Path) -> None:
    packed = gzip.compress(f">host\n{bases(5000)}\n".encode())
    (tmp_path / "host.fasta.gz").write_bytes(packed[: len(packed) // 2])
    arguments = ["host-index", "build", str(tmp_path / "host.fasta.gz"), "-o", str(tmp_path / "host.idx")]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, NotReady)  # main() prints it as one line
    assert "cut off" in str(result.exception)
    assert not (tmp_path / "host.idx").exists()
