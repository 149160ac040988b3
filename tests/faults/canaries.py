"""Canaries: words that nobody else uses, in everything that people send, and the places where none may turn up."""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import re
import signal
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from sqlalchemy import text

from readvault import bootstrap
from readvault.adapters.secrets_file import load_or_make
from readvault.client import ClientError
from tests.stack import Lab, Stack

KMER = 31
READ = 150
_SIGNED = re.compile(rb"X-Amz-(?:Signature|Credential)=[A-Za-z0-9]{8}")
_OPPOSITE = str.maketrans("ACGT", "TGCA")


@dataclass
class Planted:
    """What was sent or told, and must not be found; by the words for what it is."""

    of_people: dict[str, str] = field(default_factory=dict)
    """Names, metadata, reads, tokens, passwords, signatures."""
    of_the_stack: dict[str, str] = field(default_factory=dict)
    """Keys and passwords of its own, which its processes have in their environment."""


class Planter:
    """Sends submissions full of canaries: good ones and bad ones of every kind."""

    def __init__(self, stack: Stack, lab: Lab, folder: Path, seed: int) -> None:
        self._stack, self.lab, self._folder = stack, lab, folder
        self._random = random.Random(seed)
        self._number = 0
        self._genome = "".join(
            line.strip() for line in stack.organism().candidates[0].fasta.read_text().splitlines()[1:]
        ).upper()
        self.planted = Planted()
        self.planted.of_the_stack |= _secrets_of(stack)
        for what in ("access_token", "refresh_token"):
            self.planted.of_people[what] = (lab.client._token or {})[what]

    def word(self, what: str) -> str:
        """A canary: a word that means nothing."""
        found = f"canary{self._random.getrandbits(64):016x}"
        self.planted.of_people[f"{what} {found}"] = found
        return found

    def _kmer(self) -> str:
        found = "".join(self._random.choices("ACGT", k=KMER))
        self.planted.of_people[f"read {found}"] = found
        self.planted.of_people[f"read {found}, reversed"] = found[::-1].translate(_OPPOSITE)
        return found

    def submissions(self, count: int) -> list[tuple[str, int]]:
        """Submit so many entries, kind after kind; their accession versions."""
        kinds = list(KINDS)
        names = []
        for _ in range(count):
            kind = kinds[self._number % len(kinds)]
            self._number += 1
            names.append(self._submit(KINDS[kind](self)))
        return names

    def refusals(self) -> None:
        """Requests that are refused: wrong passwords, forged tokens, bad metadata, foreign files."""
        api = self._stack.addresses["api"]
        name, password = self.word("user name"), self.word("password")
        with contextlib.suppress(ClientError):
            self._stack.anyone().login(name, password)
        token = self.word("token")
        httpx.get(f"{api}/user/groups", headers={"Authorization": f"Bearer {token}"})
        httpx.get(f"{api}/user/groups", headers={"Authorization": f"Bearer rvt_{token}"})
        for cells in (f"{self.word('file name')}.fastq:{self.word('file ID')}", ""):
            row = f"{self.word('submission ID')}\t{self.word('date')}\t{self.word('country')}\t{cells}"
            with contextlib.suppress(ClientError):
                self.lab.client.submit("demo", self.lab.group, f"id\tdate\tcountry\tfiles.rawReads\n{row}\n")

    def remember_urls(self, names: Iterable[tuple[str, int]]) -> None:
        """The signatures of URLs that the review gives out are canaries too."""
        for accession, version in names:
            review = self.lab.client.review("demo", accession, version)
            for url in _urls(review):
                self._signature(url)

    def _signature(self, url: str) -> None:
        for signature in parse_qs(urlsplit(url).query).get("X-Amz-Signature", ()):
            self.planted.of_people[f"signature {signature}"] = signature

    def _submit(self, files: dict[str, bytes]) -> tuple[str, int]:
        place = self._folder / str(self._number)
        place.mkdir(parents=True)
        for name, content in files.items():
            (place / name).write_bytes(content)
        tickets = self.lab.client.request_uploads(self.lab.group, sorted(place.iterdir()), category="rawReads")
        for ticket in tickets:
            if ticket.put is not None:
                self._signature(ticket.put["url"])
            self.lab.client.upload(ticket)
        cell = " ".join(
            f"{path.name}:{ticket.file_id}" for path, ticket in zip(sorted(place.iterdir()), tickets, strict=True)
        )
        row = f"{self.word('submission ID')}\t2026-01-02\t{self.word('country')}\t{cell}"
        [entry] = self.lab.client.submit("demo", self.lab.group, f"id\tdate\tcountry\tfiles.rawReads\n{row}\n")
        return entry["accession"], entry["version"]

    def reads(self, count: int = 60, *, mate: int = 1) -> list[str]:
        """Lines of a FASTQ: reads of the reference, and one that is a canary; so are all their names."""
        lines = []
        prefix = self.word("read name")
        shared = random.Random(self._number)
        for number in range(count):
            start = shared.randrange(len(self._genome) - 2 * READ)
            bases = self._genome[start : start + READ]
            if mate == 2:
                bases = self._genome[start + READ // 2 : start + READ // 2 + READ][::-1].translate(_OPPOSITE)
            if number == 3:
                bases = bases[:60] + self._kmer() + bases[60 + KMER :]
            lines += [f"@r{number} {prefix}", bases, "+", "F" * len(bases)]
        return lines


def _text(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def _good(planter: Planter) -> dict[str, bytes]:
    name = planter.word("file name")
    return {f"{name}_R{mate}.fastq.gz": gzip.compress(_text(planter.reads(mate=mate))) for mate in (1, 2)}


def _truncated(planter: Planter) -> dict[str, bytes]:
    return {f"{planter.word('file name')}.fastq.gz": gzip.compress(_text(planter.reads()))[:-200]}


def _fasta(planter: Planter) -> dict[str, bytes]:
    lines = planter.reads(5)
    return {f"{planter.word('file name')}.fastq": _text([f">{planter.word('read name')}", *lines[1::4]])}


def _unpaired(planter: Planter) -> dict[str, bytes]:
    name = planter.word("file name")
    return {
        f"{name}_R1.fastq": _text(planter.reads()),
        f"{name}_R2.fastq": _text(planter.reads(40, mate=2)),
    }


def _bad_base(planter: Planter) -> dict[str, bytes]:
    lines = planter.reads()
    lines[13] = lines[13][:-1] + "!"
    return {f"{planter.word('file name')}.fastq": _text(lines)}


def _bad_record(planter: Planter) -> dict[str, bytes]:
    lines = planter.reads()
    lines[14] = planter.word("third line")
    lines[16] = planter.word("first line")
    return {f"{planter.word('file name')}.fastq": _text(lines)}


def _rubbish_bam(planter: Planter) -> dict[str, bytes]:
    header = f"@HD\tVN:1.6\n@CO\t{planter.word('comment')}\n@SQ\tSN:{planter.word('contig')}\tLN:100\n"
    return {f"{planter.word('file name')}.sam": (header + planter.word("record") + "\tx\n").encode()}


def _empty(planter: Planter) -> dict[str, bytes]:
    return {f"{planter.word('file name')}.fastq": b""}


KINDS: dict[str, Callable[[Planter], dict[str, bytes]]] = {
    "good": _good,
    "truncated": _truncated,
    "FASTA": _fasta,
    "unpaired": _unpaired,
    "bad base": _bad_base,
    "bad record": _bad_record,
    "rubbish": _rubbish_bam,
    "empty": _empty,
}


def kill_children(stack: Stack) -> int:
    """SIGKILL to the children in which jobs are being done; how many."""
    killed = 0
    for pid in _below(stack.stack_json()["pids"]["worker"], depth=2):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


def found(stack: Stack, planted: Planted) -> list[str]:
    """Every place where a canary turned up; a running stack."""
    everything = planted.of_people | planted.of_the_stack
    without_login = {what: word for what, word in everything.items() if what != "login"}
    places: list[tuple[str, bytes, dict[str, str]]] = []
    for log in sorted(stack.data_dir.rglob("*.log")):
        # `up` shows the login to whoever starts it.
        places.append((f"log {log.name}", log.read_bytes(), without_login if log.name == "up.log" else everything))
    for file in sorted((stack.data_dir / "prefect").rglob("*")):
        if file.is_file():
            places.append((f"Prefect's file {file.name}", file.read_bytes(), everything))
    places += [(f"Prefect's table {table}", rows, everything) for table, rows in prefect_tables(stack)]
    places += [(f"our table {table}", rows, everything) for table, rows in our_tables(stack)]
    pids = stack.stack_json()["pids"]
    for name, pid in pids.items():
        for process in (pid, *_below(pid)):
            places.append((f"arguments of {name}", _proc(process, "cmdline"), everything))
            places.append((f"environment of {name}", _proc(process, "environ"), planted.of_people))
    for process in _below(pids["worker"]):
        places.append(("environment of the nursery", _proc(process, "environ"), everything))
    hits = {
        f"{what.partition(' canary')[0]} in {place}"
        for place, content, words in places
        for what, word in words.items()
        if word.encode() in content
    }
    signed = {f"a signed URL in {place}" for place, content, _ in places if _SIGNED.search(content)}
    return sorted(hits | signed)


def what_the_search_missed(stack: Stack, names: list[tuple[str, int]]) -> list[str]:
    """A search that finds nothing at all would prove nothing: accessions must be found where they belong."""
    accession = names[0][0].encode()
    missed = []
    if accession not in b"".join(rows for _, rows in our_tables(stack)):
        missed.append("the search saw nothing of our tables")
    tables = dict(prefect_tables(stack))
    if tables and accession not in tables.get("flow_run", b""):
        missed.append("the search saw nothing of Prefect's tables")
    return missed


def prefect_tables(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """Every table of Prefect's database, as text."""
    path = stack.data_dir / "prefect" / "prefect.db"
    if not path.exists():
        return
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
        database.text_factory = bytes
        names = [row[0].decode() for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            rows = database.execute(f'SELECT * FROM "{name}"')
            yield name, b"\n".join(b"\t".join(_bytes(value) for value in row) for row in rows)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def our_tables(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """What maintainers read: the audit log, and why jobs failed."""
    house = bootstrap.office(stack.settings)
    try:
        with house.sessions.read() as session:
            for name, columns in (("audit_log", "actor, action, subject, details"), ("job", "id, last_error, run_id")):
                rows = session.execute(text(f"SELECT {columns} FROM {name}"))
                yield name, "\n".join(map(str, rows)).encode()
    finally:
        house.sessions.close()


def _secrets_of(stack: Stack) -> dict[str, str]:
    """The stack's own secrets: S3 keys, Prefect's password, the login."""
    kept = load_or_make(stack.data_dir / "secrets.json", ())
    named = {"login" if name == "admin_password" else name.replace(" ", "-"): value for name, value in kept.items()}
    return {name: str(value) for name, value in named.items() if isinstance(value, str) and len(value) >= 12}


def _urls(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _urls(each)
    elif isinstance(value, list):
        for each in value:
            yield from _urls(each)
    elif isinstance(value, str) and "X-Amz-Signature" in value:
        yield value


def _below(pid: int, depth: int = 9) -> list[int]:
    """The processes below one, down to a depth."""
    children = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += [int(child) for child in (task / "children").read_text().split()]
    deeper = [grandchild for child in children for grandchild in _below(child, depth - 1)] if depth > 1 else []
    return children + deeper


def _proc(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""
