"""Trials with one kind of fault between us and S3: single requests, and whole jobs from upload to release."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import random
import tempfile
import uuid
from pathlib import Path

from readvault.adapters.embedded import SeaweedFS
from readvault.domain.errors import ProcessingFailure
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState
from tests.faults import invariants
from tests.faults.campaign import Campaign, Outcome
from tests.faults.rig import Reads, Rig, Site, TooSlowError, until
from tests.faults.s3_proxy import Fault, FaultProxy, Rule
from tests.faults.s3_scenes import Scenes, no_pauses

_undisturbed: dict[int, str] = {}
"""Digests of manifests by the sample's number, for all parts that one process runs."""
ONE_JOB_IN = 5
"""trials: the others are single requests."""
LISTINGS = frozenset({"ListObjectVersions", "ListObjectsV2", "ListParts"})
ANY = frozenset(
    {"GetObject", "HeadObject", "PutObject", "PutObjectRetention", "UploadPart", "CompleteMultipartUpload", *LISTINGS}
)
KINDS: dict[str, tuple[tuple[Fault, ...], str]] = {
    "status": ((Fault.STATUS,), "S3 answers 500, 503 SlowDown or 429 instead of doing what it is asked"),
    "delay": ((Fault.DELAY,), "requests wait on their way"),
    "cut": ((Fault.CUT, Fault.CUT_REQUEST), "the connection breaks in the middle of a request or of its answer"),
    "truncate": ((Fault.TRUNCATE,), "answers lack their end, and their Content-Length agrees with what is left"),
    "flip": ((Fault.FLIP, Fault.FLIP_REQUEST), "one bit of a request's or of an answer's body turns on the way"),
    "dropped_response": (
        (Fault.DROP, Fault.ERROR_IN_200),
        "S3 does what it is asked, and its answer is lost, or is a 200 with an error in its body",
    ),
}


def campaign(kind: str) -> Campaign:
    """The campaign of one kind of fault."""
    faults, what = KINDS[kind]
    return Campaign(
        name=f"s3_{kind}",
        promise="P1 No wrong byte of S3 is believed, and no job is lost to it",
        how=f"between us and S3 {what}; each fifth trial is a whole job, from submit to release, whose manifest must be"
        " that of an undisturbed run, the others are single requests of every kind",
        full=500,
        run=functools.partial(_run, faults),
        part=25,
        tiny=11,
    )


def _run(faults: tuple[Fault, ...], trials: int, seed: int, folder: Path) -> Outcome:
    dice = random.Random(seed)
    jobs = trials // ONE_JOB_IN if trials >= 25 else 0
    failures: list[str] = []
    with contextlib.ExitStack() as opened:
        rig = opened.enter_context(Rig(folder)) if jobs else None
        s3 = shared_server() if rig is None else rig.s3
        proxy = opened.enter_context(FaultProxy(s3.endpoint, seed=seed))
        failures += _single(faults, trials - jobs, s3, proxy, folder, dice)
        if rig is not None:
            failures += _jobs(faults, jobs, rig, proxy, dice)
    conditions = "SeaweedFS behind a proxy; single requests without pauses between retries"
    if jobs:
        conditions += f", each {ONE_JOB_IN}th a job of 50 pairs on SQLite, inline orchestrator"
    return Outcome(trials, failures, conditions)


def _single(
    faults: tuple[Fault, ...], trials: int, s3: SeaweedFS, proxy: FaultProxy, folder: Path, dice: random.Random
) -> list[str]:
    failures = []
    scenes = Scenes(s3.provision(f"test-{uuid.uuid4().hex[:12]}"), proxy, folder / "scenes", dice)
    with no_pauses():
        for number, scene in zip(range(trials), itertools.cycle(scenes.all()), strict=False):
            fault = faults[number // len(scenes.all()) % len(faults)] if trials > 11 else dice.choice(faults)
            made: list[Rule] = []

            def rule(*operations: str, fault: Fault = fault, made: list[Rule] = made) -> Rule:
                made.append(_rule(fault, operations, dice, times=dice.randint(1, 3)))
                return made[-1]

            scenes.fresh()
            try:
                scene(rule)
            except AssertionError as wrong:
                failures.append(f"{fault} in {scene.__name__} ({made}): {wrong}")
            except Exception as wrong:  # anything else than our own refusals is a failure too
                failures.append(f"{fault} in {scene.__name__} ({made}): {type(wrong).__name__}: {wrong}")
    proxy.rules = []
    return failures


def _rule(fault: Fault, operations: tuple[str, ...], dice: random.Random, **how: float) -> Rule:
    if fault == Fault.ERROR_IN_200:
        completed = tuple(each for each in operations if each in ("CompleteMultipartUpload", "CopyObject"))
        fault, operations = (fault, completed) if completed else (Fault.DROP, operations)
    return Rule(fault, operations, status=dice.choice((500, 503, 429)), seconds=dice.uniform(0.0, 0.2), **how)  # type: ignore[arg-type]


def _jobs(faults: tuple[Fault, ...], trials: int, rig: Rig, proxy: FaultProxy, dice: random.Random) -> list[str]:
    """Whole jobs; each meets up to twelve faults, in about every third request."""
    failures: list[str] = []
    rough = rig.site("disturbed", READVAULT_S3__ENDPOINT=proxy.endpoint, READVAULT_S3__PUBLIC_ENDPOINT=rig.s3.endpoint)
    reads = Reads(rig.folder / "reads", rough.settings)
    expected = _expected(rig, trials, reads)
    started = rough.folder / "worker-is-ready"
    rough.worker(READVAULT_READY_FILE=str(started))
    until(started.exists, "the worker is ready", 60)
    for number in range(trials):
        try:
            proxy.rules = [_rule(dice.choice(faults), tuple(ANY), dice, times=12, chance=0.3)]
            digest = _one_life(rough, number, reads)
            assert digest == expected[number], "the manifest is another one than in an undisturbed run"
        except AssertionError as wrong:
            failures.append(f"job {number} ({proxy.rules}): {wrong}")
        proxy.rules = []
    return failures + invariants.check(rough.house)


def _expected(rig: Rig, trials: int, reads: Reads) -> dict[int, str]:
    """The manifests' digests on a way without faults. Accessions are counted, so every part has the same ones."""
    if not all(number in _undisturbed for number in range(trials)):
        calm = rig.site("undisturbed")
        worker = calm.worker()
        for number in range(trials):
            _undisturbed[number] = _one_life(calm, number, reads)
        worker.kill()
    return _undisturbed


def _one_life(site: Site, number: int, reads: Reads) -> str:
    """Upload, submit, process, approve and publish one entry; its manifest's digest."""
    cell = site.upload(*reads.pairs(number))
    name = _submit(site, number, cell)
    _done(site, name, JobKind.PROCESS_SUBMISSION)
    manifest = site.manifest(name)
    assert manifest is not None, "it is done and has no manifest"
    site.approve(name, manifest.digest)
    _done(site, name, JobKind.RELEASE)
    return manifest.digest


def _submit(site: Site, number: int, cell: str) -> AccessionVersion:
    """Submit until there is an answer, as somebody does who was told 503."""
    for _ in range(12):
        try:
            return site.submit(number, cell)
        except ProcessingFailure:
            continue
    raise AssertionError("nothing could be submitted")


def _done(site: Site, name: AccessionVersion, kind: JobKind) -> None:
    def ended() -> bool:
        job = site.job(name, kind)
        return job is not None and job.state in (JobState.DONE, JobState.NEEDS_ATTENTION)

    try:
        until(ended, f"{kind} of {name}", 120)
    except TooSlowError:
        job = site.job(name, kind)
        raise TooSlowError(f"{kind} of {name} is still {job and (job.state, job.handbacks, job.last_error)}") from None
    job = site.job(name, kind)
    assert job is not None
    assert job.state == JobState.DONE, f"{kind} needs attention: {job.last_error}"


@functools.cache
def shared_server() -> SeaweedFS:
    """One server for the few trials of a test run, stopped when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="faults-s3-")
    server = SeaweedFS(Path(folder.name), buckets="test-*", bucket="test-first")
    server.start()
    atexit.register(lambda: (server.stop(), folder.cleanup()))
    return server
