"""A rig for kills: real S3, a real database, workers that can be killed as often as one likes.

Every process but S3 is forked from one warm process (`tests.faults.warm`), so a kill and a new start
cost tenths of a second.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import httpx
from sqlmodel import select as query_of

from readvault import bootstrap, demo_organism
from readvault.adapters.embedded import SeaweedFS
from readvault.adapters.inline_orchestrator import NoOrchestrator
from readvault.config import Settings
from readvault.db.engine import migrate
from readvault.db.tables import Job, Manifest
from readvault.domain.actor import Actor
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState
from readvault.failpoints import VARIABLE
from readvault.reads.simulate import simulation
from readvault.services.house import House
from readvault.services.submission import revision
from readvault.services.uploads.answers import WantedFile
from readvault.services.uploads.upload_requests import request_uploads
from tests.houses import group_of
from tests.stack import new_database

ORGANISM = demo_organism.NAME
LAB = Actor("lab")
PAIRS = 50
PATIENCE = 120.0
"""Seconds after which something that doesn't come is a failure."""
QUICK = {
    "READVAULT_WORKER__RETRY_AFTER": "[0.1]",
    "READVAULT_WORKER__LEASE": "2",
    "READVAULT_WORKER__RENEW_EVERY": "0.5",
    "READVAULT_WORKER__DISPATCH_EVERY": "0.1",
    "READVAULT_WORKER__PENDING_LIMIT": "4",
    "READVAULT_WORKER__THREADS": "1",
}
REFERENCE = Path("deployments/references/NC_045512.2.fasta")


class TooSlowError(AssertionError):
    """What had to come did not come in time."""


@dataclass
class Process:
    """A process that was forked from the warm one."""

    pid: int
    descriptor: int

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        poller = select.poll()
        poller.register(self.descriptor, select.POLLIN)
        return not poller.poll(0)

    def ended(self, seconds: float = PATIENCE) -> bool:
        """Wait for its end; whether it came."""
        poller = select.poll()
        poller.register(self.descriptor, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        try:
            signal.pidfd_send_signal(self.descriptor, number)
        except OSError:  # it has ended
            return

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        self.send(signal.SIGKILL)
        self.ended()


class Site:
    """One installation of a rig: a database, a bucket, a data directory. Several share the S3 server."""

    def __init__(self, rig: Rig, name: str, environment: Mapping[str, str]) -> None:
        self._rig = rig
        self.folder = rig.folder / name
        self.folder.mkdir()
        self.fail_points = self.folder / "fail-points"
        self.fail_points.mkdir()
        self._numbers = itertools.count()
        s3 = rig.s3.provision(f"test-{name}")
        self.environment = {
            **QUICK,
            **new_database(),
            VARIABLE: str(self.fail_points),
            "READVAULT_DATA_DIR": str(self.folder),
            "READVAULT_ORGANISMS_DIR": str(rig.organisms),
            "READVAULT_LOAD_DEMO_ORGANISM": "true",
            "READVAULT_ORCHESTRATOR": "inline",
            "READVAULT_S3__ENDPOINT": s3.endpoint,
            "READVAULT_S3__REGION": s3.region,
            "READVAULT_S3__BUCKET": s3.bucket,
            "READVAULT_READY_FILE": str(self.folder / "ready"),
            **environment,
        }
        for identity in ("upload_signer", "read_signer", "worker"):
            keys = getattr(s3, identity)
            self.environment[f"READVAULT_S3__{identity.upper()}__ACCESS_KEY"] = keys.access_key
            self.environment[f"READVAULT_S3__{identity.upper()}__SECRET_KEY"] = keys.secret_key.get_secret_value()
        demo_organism.prepare(self.settings)
        migrate(self.settings.database)
        self.house: House = bootstrap.house(self.settings, NoOrchestrator())
        self.group = group_of(self.house, LAB)
        self._http = httpx.Client(timeout=60)

    @cached_property
    def settings(self) -> Settings:
        """Its settings, as its processes have them."""
        with _environment(self.environment):
            return Settings()

    @property
    def database(self) -> str:
        """`sqlite` or `postgresql`, as people write it."""
        return "SQLite" if self.house.sessions.dialect == "sqlite" else "PostgreSQL"

    def close(self) -> None:
        """Let go of the database."""
        self._http.close()
        self.house.sessions.close()

    # --- processes -----------------------------------------------------------------------------

    def worker(self, host: str | None = None, local_run: str | None = None, **environment: str) -> Process:
        """A new worker; on another `host` it doesn't know which workers of the first one are dead.

        `local_run` (`module:callable`) does the local steps instead of readvault's own.
        """
        order = {"do": "worker", "host": host, "local_run": local_run}
        return self._rig.fork(order | self._surroundings(environment))

    def api(self, port: int, **environment: str) -> Process:
        """A new API process."""
        return self._rig.fork({"do": "api", "port": port, **self._surroundings(environment)})

    def operation(self, name: str, **order: Any) -> tuple[Process, Path]:
        """One use case in a process of its own; the process, and the file that will have its answer."""
        answer = self.folder / f"answer-{next(self._numbers)}.json"
        process = self._rig.fork({"do": name, **order, "answer": str(answer), **self._surroundings({})})
        return process, answer

    def _surroundings(self, more: Mapping[str, str]) -> dict[str, Any]:
        return {"environment": self.environment | dict(more), "log": str(self.folder / "processes.log")}

    @property
    def log(self) -> str:
        """What its processes said."""
        path = self.folder / "processes.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # --- what a lab does ------------------------------------------------------------------------

    def upload(self, *bodies: bytes) -> str:
        """Upload these files; the cell of the metadata that names them."""
        wanted = [
            WantedFile(f"reads_{n}.fastq.gz", len(body), hashlib.sha256(body).hexdigest(), "rawReads")
            for n, body in enumerate(bodies, 1)
        ]
        answers = request_uploads(self.house, LAB, self.group, wanted)
        for answer, body in zip(answers, bodies, strict=True):
            if answer.put is not None:
                self._http.put(answer.put.url, headers=answer.put.headers, content=body).raise_for_status()
        return " ".join(f"{file.name}:{answer.file_id}" for file, answer in zip(wanted, answers, strict=True))

    def submission(self, number: int, cell: str) -> dict[str, Any]:
        """The order to submit one entry; sent again it is the same submission."""
        metadata = f"id\tdate\tcountry\tfiles.rawReads\nsample-{number}\t2026-01-02\tSwitzerland\t{cell}\n"
        same = {"actor": LAB.name, "organism": ORGANISM, "group": self.group}
        return {**same, "metadata": metadata, "key": f"submission-{number}"}

    def submit(self, number: int, cell: str) -> AccessionVersion:
        """Submit one entry, in this process."""
        from tests.faults.warm import OPERATIONS

        [[accession, version]] = OPERATIONS["submit"](self.house, self.submission(number, cell))
        return AccessionVersion(accession, version)

    def revise(self, number: int, accession: str, cell: str) -> AccessionVersion:
        """Revise one entry, in this process."""
        head, row = "accession\tid\tdate\tcountry\tfiles.rawReads", f"{accession}\tsample-{number}"
        metadata = f"{head}\n{row}\t2026-01-02\tSwitzerland\t{cell}\n".encode()
        [entry] = revision.revise(self.house, LAB, ORGANISM, metadata=metadata, metadata_name="metadata.tsv")
        assert entry.accession is not None
        return AccessionVersion(entry.accession, entry.version)

    def approve(self, name: AccessionVersion, digest: str) -> None:
        """Approve one version, in this process."""
        from tests.faults.warm import OPERATIONS

        OPERATIONS["approve"](self.house, self.approval(name, digest))

    def approval(self, name: AccessionVersion, digest: str) -> dict[str, Any]:
        """The order to approve one version."""
        return {"actor": LAB.name, "organism": ORGANISM, "named": [[str(name), digest]]}

    # --- what became of it ----------------------------------------------------------------------

    def job(self, name: AccessionVersion, kind: JobKind = JobKind.PROCESS_SUBMISSION) -> Job | None:
        """The newest job of a kind."""
        with self.house.sessions.read() as session:
            jobs = session.exec(
                query_of(Job).where(
                    Job.accession == name.accession, Job.version == name.version, Job.kind == kind.value
                )
            ).all()
        return max(jobs, key=lambda job: job.created_at, default=None)

    def is_done(self, name: AccessionVersion, kind: JobKind = JobKind.PROCESS_SUBMISSION) -> bool:
        """Whether its newest job of a kind is done."""
        job = self.job(name, kind)
        return job is not None and job.state == JobState.DONE

    def manifest(self, name: AccessionVersion) -> Manifest | None:
        """The current manifest."""
        with self.house.sessions.read() as session:
            return session.exec(
                query_of(Manifest).where(
                    Manifest.accession == name.accession,
                    Manifest.version == name.version,
                    Manifest.superseded_at == None,  # noqa: E711 - SQL
                )
            ).one_or_none()

    def scratch(self) -> list[Path]:
        """What lies on the scratch disk below the workers' own directories."""
        return sorted(self.settings.scratch.glob("*/[!.]*"))


class Rig:
    """S3 and the warm process; `with Rig(folder) as rig: site = rig.site("disturbed")`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.organisms = folder / "organisms"
        self.s3 = SeaweedFS(folder / "s3", buckets="test-*", bucket="test-first")
        self._sites: list[Site] = []
        self._warm: subprocess.Popen[str] | None = None
        self._processes: list[Process] = []

    def __enter__(self) -> Rig:
        self.organisms.mkdir(parents=True)
        # One organism only: every worker reads them all at its start.
        shutil.copyfile("deployments/organisms/sars-cov-2.yaml", self.organisms / "sars-cov-2.yaml")
        (self.folder / "references").mkdir()
        for reference in Path("deployments/references").iterdir():
            if reference.is_file():
                shutil.copyfile(reference, self.folder / "references" / reference.name)
        self.s3.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.send(signal.SIGKILL)
        for process in self._processes:
            process.ended(5)
            os.close(process.descriptor)
        if self._warm is not None:
            assert self._warm.stdin is not None
            self._warm.stdin.close()
            self._warm.wait(10)
        for site in self._sites:
            site.close()
        self.s3.stop()

    def site(self, name: str, **environment: str) -> Site:
        """A new installation; `environment` adds settings for all its processes."""
        site = Site(self, name, environment)
        self._sites.append(site)
        return site

    def fork(self, order: dict[str, Any]) -> Process:
        """A process of the warm one's."""
        if self._warm is None:
            # Without what this one process has besides: all that are forked later would inherit it.
            self._warm = self._start(self._sites[0].environment)
        orders, answers = self._warm.stdin, self._warm.stdout
        assert orders is not None
        assert answers is not None
        print(json.dumps(order), file=orders, flush=True)
        pid = int(answers.readline())
        process = Process(pid, _pidfd(pid))
        self._processes.append(process)
        return process

    def _start(self, environment: Mapping[str, str]) -> subprocess.Popen[str]:
        log: IO[bytes]
        with (self.folder / "warm.log").open("ab") as log:
            warm = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.warm"],
                env=os.environ | dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert warm.stdout is not None
        assert warm.stdout.readline().strip() == "ready", (self.folder / "warm.log").read_text()
        return warm


class Reads:
    """Small samples that are all different and always the same: `pairs(3)` is the third one's two files."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        folder.mkdir()
        simulated = simulation.simulate(
            REFERENCE,
            folder,
            pairs=PAIRS,
            length=150,
            seed=3,
            substitutions=3,
            host=demo_organism.host_genome(settings),
            host_pairs=5,
        )
        assert simulated.r2 is not None
        self._bodies = [gzip.decompress(path.read_bytes()) for path in (simulated.r1, simulated.r2)]

    def pairs(self, number: int) -> list[bytes]:
        """Both files: the reads are the same in each sample, their names are not, so nothing is sent twice."""
        return [gzip.compress(_renamed(body, number), compresslevel=1, mtime=0) for body in self._bodies]


def _renamed(body: bytes, number: int) -> bytes:
    lines = body.split(b"\n")
    lines[::4] = [b"@s%d_%s" % (number, line[1:]) if line else line for line in lines[::4]]
    return b"\n".join(lines)


def until(come: Callable[[], Any], what: str, seconds: float = PATIENCE, every: float = 0.02) -> Any:
    """The first true answer. Raises TooSlowError when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        if answer := come():
            return answer
        if time.monotonic() > end:
            raise TooSlowError(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)


def _pidfd(pid: int) -> int:
    """What becomes readable when the process ends; at once for one that has ended already."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        ended, end = os.pipe()
        os.close(end)
        return ended


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
