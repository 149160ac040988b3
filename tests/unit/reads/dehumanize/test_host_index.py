"""The host index: every k-mer on both strands, pinned by its digest, fetched whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from readvault.cli.host_index import host_index_app
from readvault.domain.errors import ProcessingFailure
from readvault.reads import kmers
from readvault.reads.dehumanize import host_index, host_index_fetch
from tests.unit.reads.fastq_maker import bases, record, write

COMPLEMENT = str.maketrans("ACGTacgt", "TGCAtgca")
HOST = bases(3000, seed=9)


def reverse(sequence: str) -> str:
    return sequence.translate(COMPLEMENT)[::-1]


def left_of(index: Path, sequences: list[str], directory: Path) -> list[int]:
    """Which reads deacon keeps, by their places."""
    source = write(directory / "in.fastq", "".join(record(str(n), s) for n, s in enumerate(sequences)))
    target = directory / "out.fastq"
    host_index.load(index).filter(str(source), output=str(target), deplete=True, ordered=True, abs_threshold=1)
    return [int(line[1:]) for line in target.read_text().splitlines()[0::4]]


@pytest.mark.parametrize("packed", [False, True])
def test_an_index_finds_every_window_of_the_host_on_both_strands_and_nothing_else(tmp_path: Path, packed: bool) -> None:
    """Also across line ends and in lower case; deacon itself is asked."""
    wrapped = "\n".join(HOST[start : start + 61] for start in range(0, len(HOST), 61))
    fasta = write(
        tmp_path / ("host.fasta.gz" if packed else "host.fasta"), f">a\n{wrapped}\n>b\n{bases(100, 3).lower()}\n"
    )
    built = host_index.build(fasta, tmp_path / "host.idx")
    assert built.kmers == (3000 - 30) + (100 - 30)
    host = [HOST[start : start + 45] for start in range(0, 2955, 45)]
    aliens = [bases(45, seed=1000 + n) for n in range(50)]
    reads = [*host, *map(reverse, host), bases(100, 3)[20:80], *aliens]
    kept = left_of(tmp_path / "host.idx", reads, tmp_path)
    assert kept == list(range(len(reads) - 50, len(reads)))


def test_the_file_is_deacons_format_three(tmp_path: Path) -> None:
    """A 2-bit k-mer of its own: A0 C1 T2 G3, first base lowest, the smaller strand."""
    kmer = "ACGTTTTTTTTTTTTTTTTTTTTTTTTTTTT"
    host_index.build(write(tmp_path / "k.fasta", f">k\n{kmer}\n"), tmp_path / "k.idx")
    codes = {"A": 0, "C": 1, "T": 2, "G": 3}
    value = min(sum(codes[b] << 2 * n for n, b in enumerate(strand)) for strand in (kmer, reverse(kmer)))
    expected = bytes([3, 31, 15]) + (1).to_bytes(8, "little") + value.to_bytes(8, "little")
    assert (tmp_path / "k.idx").read_bytes() == expected


def test_k_mers_with_unknown_bases_are_left_out_and_pieces_join_without_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fasta = write(tmp_path / "h.fasta", f">a\n{HOST[:100]}N{HOST[100:200]}\n{HOST[200:]}\n")
    whole = host_index.build(fasta, tmp_path / "a.idx")
    assert whole.kmers == 3000 - 30 - 30
    monkeypatch.setattr(kmers, "BASES_AT_ONCE", 64)
    assert host_index.build(fasta, tmp_path / "b.idx").sha256 == whole.sha256
    monkeypatch.setattr(kmers, "KMERS_IN_MEMORY", 500)
    assert host_index.build(fasta, tmp_path / "c.idx").sha256 == whole.sha256, "on shelves of the disk, as in memory"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.idx", "b.idx", "c.idx", "h.fasta"]


def test_an_index_of_minimizers_is_an_eighth_and_finds_every_window_without_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its k-mers are some of all k-mers, about 2 of w + 1; where the FASTA is cut does not matter."""
    fasta = write(tmp_path / "h.fasta", f">a\n{HOST[:1000]}N{HOST[1000:]}\n>b\n{bases(44, 3)}\n>c\n{bases(50, 4)}\n")
    every = host_index.build(fasta, tmp_path / "a.idx")
    some = host_index.build(fasta, tmp_path / "m.idx", minimizers=True)
    assert 0.11 < some.kmers / every.kmers < 0.15
    listed = [set(np.concatenate(list(kmers.blocks(one.path, header=host_index.HEADER_SIZE)))) for one in (some, every)]
    assert listed[0] < listed[1]
    windows = [HOST[start : start + 45] for start in range(0, 2955) if not 955 < start < 1000]
    assert left_of(tmp_path / "m.idx", windows, tmp_path) == []
    monkeypatch.setattr(kmers, "BASES_AT_ONCE", 100)
    assert host_index.build(fasta, tmp_path / "n.idx", minimizers=True).sha256 == some.sha256


def test_what_can_not_be_indexed_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    short = write(tmp_path / "s.fasta", ">a\nACGT\n")
    with pytest.raises(ValueError, match="k-mer"):
        host_index.build(short, tmp_path / "s.idx")
    with pytest.raises(ValueError, match="even"):
        host_index.build(short, tmp_path / "s.idx", k=31, w=14)
    assert not (tmp_path / "s.idx").exists()


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:5], lambda data: b"\x02" + data[1:]])
def test_half_an_index_is_never_loaded(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "h.idx"
    host_index.build(write(tmp_path / "h.fasta", f">a\n{HOST}\n"), path)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ProcessingFailure):
        host_index.load(path)


def test_an_index_is_loaded_once_and_again_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "h.idx"
    first = host_index.build(write(tmp_path / "h.fasta", f">a\n{HOST}\n"), path)
    loaded = host_index.load(path)
    assert host_index.load(path) is loaded
    assert host_index.digest(path) == first.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    second = host_index.build(write(tmp_path / "h.fasta", f">a\n{HOST[:500]}\n"), path)
    assert host_index.load(path) is not loaded
    assert host_index.digest(path) == second.sha256


# ------------------------------------------------------------------ fetching


@dataclass
class Shelf:
    """A web server with one file, which may stop in the middle."""

    content: bytes
    url: str = ""
    etag: str = '"one"'
    stop_after: int | None = None
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    host_index.build(write(tmp_path / "h.fasta", f">a\n{HOST}\n"), tmp_path / "source.idx")
    shelf = Shelf((tmp_path / "source.idx").read_bytes())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shelf.ranges.append(asked := self.headers.get("Range"))
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            partial = bool(asked) and self.headers.get("If-Range") == shelf.etag
            body = shelf.content[start:] if partial else shelf.content
            self.send_response(206 if partial else 200)
            self.send_header("ETag", shelf.etag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: shelf.stop_after])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        shelf.url = f"http://127.0.0.1:{server.server_port}/panhuman.idx"
        yield shelf
        server.shutdown()


def test_a_stopped_download_goes_on_where_it_was(tmp_path: Path, shelf: Shelf) -> None:
    target = tmp_path / "new" / "panhuman.idx"
    shelf.stop_after = 5000
    with pytest.raises(ProcessingFailure, match="try again"):
        host_index_fetch.fetch(shelf.url, target)
    assert not target.exists()
    shelf.stop_after = None
    told: list[tuple[int, int | None]] = []
    digest = host_index_fetch.fetch(shelf.url, target, progress=lambda done, total: told.append((done, total)))
    assert target.read_bytes() == shelf.content
    assert digest == hashlib.sha256(shelf.content).hexdigest()
    assert shelf.ranges == [None, "bytes=5000-"]
    assert told[-1] == (len(shelf.content), len(shelf.content))
    assert [path.name for path in target.parent.iterdir()] == ["panhuman.idx"]


def test_a_file_that_changed_in_between_is_fetched_from_its_beginning(tmp_path: Path, shelf: Shelf) -> None:
    shelf.stop_after = 5000
    with pytest.raises(ProcessingFailure):
        host_index_fetch.fetch(shelf.url, tmp_path / "p.idx")
    host_index.build(write(tmp_path / "g.fasta", f">a\n{bases(900, 4)}\n"), tmp_path / "other.idx")
    shelf.content, shelf.etag, shelf.stop_after = (tmp_path / "other.idx").read_bytes(), '"two"', None
    host_index_fetch.fetch(shelf.url, tmp_path / "p.idx")
    assert (tmp_path / "p.idx").read_bytes() == shelf.content


@pytest.mark.parametrize("wrong", ["digest", "content"])
def test_what_is_not_the_expected_index_is_thrown_away(tmp_path: Path, shelf: Shelf, wrong: str) -> None:
    expected = "0" * 64 if wrong == "digest" else None
    if wrong == "content":
        shelf.content = gzip.compress(b"a page that says sorry")
    with pytest.raises(ProcessingFailure):
        host_index_fetch.fetch(shelf.url, tmp_path / "x" / "p.idx", expected)
    assert list((tmp_path / "x").iterdir()) == []


def test_the_commands_build_and_fetch_and_print_the_digest_to_pin(tmp_path: Path, shelf: Shelf) -> None:
    run = CliRunner()
    digest = hashlib.sha256(shelf.content).hexdigest()
    built = run.invoke(host_index_app, ["build", str(tmp_path / "h.fasta"), "-o", str(tmp_path / "b.idx")])
    fetched = run.invoke(host_index_app, ["fetch", "--url", shelf.url, "-o", str(tmp_path / "f.idx")])
    for result, path in ((built, "b.idx"), (fetched, "f.idx")):
        assert result.exit_code == 0, result.output
        assert f"sha256: {digest}" in result.output
        assert (tmp_path / path).read_bytes() == shelf.content
    refused = run.invoke(host_index_app, ["fetch", "--url", shelf.url, "--sha256", "0" * 64, "-o", str(tmp_path / "g")])
    assert refused.exit_code != 0
    assert not (tmp_path / "g").exists()
