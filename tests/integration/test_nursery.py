"""The nursery under a real lease: native calls that hold the interpreter, real native parts, real steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from readvault.config import WorkerSettings
from readvault.domain.errors import ChildDied, NotReady, NurseryDied, ProcessingFailure
from readvault.domain.organism import Organism, Reference
from readvault.domain.reports import FetchReport
from readvault.nursery import Nursery
from readvault.reads.dehumanize import host_index
from readvault.reads.sample import Sample
from readvault.services import housekeeping
from readvault.services.house import House
from readvault.services.queue.lease import Lease
from tests.integration.nursery.scenes import REPOSITORY, SETTINGS, is_gone, samples_in, started
from tests.integration.services.scenes import claimed, entry, group, job

pytestmark = pytest.mark.slow

THREE_MINUTES = pytest.param(
    60.0,
    15.0,
    180,
    marks=[
        pytest.mark.skipif("READVAULT_LONG" not in os.environ, reason="takes three minutes; set READVAULT_LONG=1"),
        pytest.mark.timeout(400),
    ],
)


def _sample(directory: Path, index: Path | None = None) -> Sample:
    organism = Organism(name="tiny", reference=Reference(fasta=directory / "tiny.fasta"))
    return Sample("LOC_000001Y.1", organism, inputs=(), directory=directory, host_index=index)


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    nursery = started(tmp_path)
    yield nursery
    nursery.stop()


@pytest.mark.parametrize(("lease", "renew_every", "seconds"), [(2.0, 0.5, 8), THREE_MINUTES])
def test_a_lease_is_renewed_through_a_long_native_call(
    house: House, nursery: Nursery, tmp_path: Path, lease: float, renew_every: float, seconds: int
) -> None:
    """The child is inside a native call that holds its interpreter for four leases; no reaper gets the job."""
    quick = replace(house, settings=house.settings.model_copy(update={"worker": _limits(lease, renew_every)}))
    claim = claimed(quick, entry(quick, group(quick, "alice"), files=())[1])
    (tmp_path / "seconds").write_text(str(seconds))
    with Lease(quick, claim) as held, nursery.child(_sample(tmp_path)) as child, ThreadPoolExecutor() as threads:
        waiting = threads.submit(child.run, "hold_the_interpreter")
        while not waiting.done():
            assert housekeeping.reap(quick) == 0
            held.check()
            time.sleep(lease / 10)
        assert waiting.result() == FetchReport(files=seconds, bytes=0)
    assert job(quick, claim.job_id).attempt == claim.attempt


def test_real_native_parts_and_an_index_are_shared_by_all_children(tmp_path: Path) -> None:
    """The forkserver has no thread after loading everything, so that its children can use all of it."""
    fasta, index = tmp_path / "host.fasta", tmp_path / "host.idx"
    fasta.write_text(">host\n" + "ACGTTGCATTGACCAGTAAGCTTGCAACGTGTACCATGGTTAACC" * 20 + "\n")
    built = host_index.build(fasta, index)
    (tmp_path / "tiny.fasta").write_text(">tiny\nACGTACGTAC\n")
    nursery = Nursery(WorkerSettings(scratch=tmp_path), {"tiny": index, "absent": tmp_path / "absent.idx"})
    nursery.start()
    try:
        assert nursery.ready_indexes == {index: built.sha256}
        assert len(list(Path(f"/proc/{nursery.pid}/task").iterdir())) == 1
        with nursery.child(_sample(tmp_path, index)) as child, nursery.child(_sample(tmp_path, index)) as other:
            assert child.run("check").counts()
            os.kill(other.pid or 0, 9)
            with pytest.raises(ChildDied, match="SIGKILL"):
                other.run("check")
            assert child.result().provenance["hostIndexSha256"] == built.sha256
    finally:
        nursery.stop()


def _limits(lease: float, renew_every: float) -> WorkerSettings:
    return WorkerSettings(lease=lease, renew_every=renew_every)


def test_a_step_over_its_time_is_killed(tmp_path: Path) -> None:
    nursery = started(tmp_path, SETTINGS.model_copy(update={"step_limit": 0.5}))
    try:
        with nursery.child(samples_in(tmp_path)()) as child:
            with pytest.raises(ProcessingFailure, match="sleep: time limit"):
                child.run("sleep")
            assert is_gone(child.pid)
    finally:
        nursery.stop()


@pytest.mark.parametrize("how", ["time limit", "cancelled"])
def test_a_tool_that_hangs_and_hears_no_sigterm_leaves_no_process(tmp_path: Path, how: str) -> None:
    """Fifty of them: READVAULT_HANGS=50."""
    limit = 1.0 if how == "time limit" else 60.0
    nursery = started(tmp_path, SETTINGS.model_copy(update={"step_limit": limit}))
    make, again = samples_in(tmp_path), int(os.environ.get("READVAULT_HANGS", "1"))
    try:
        for number in range(again):
            sample = make(f"LOC_{number:06}")
            helpers = sample.directory / "helpers"
            with nursery.child(sample) as child, ThreadPoolExecutor() as threads:
                waiting = threads.submit(child.run, "hang")
                if how == "cancelled":
                    while not (helpers.exists() and helpers.read_text()):
                        time.sleep(0.01)
                    child.cancel()
                with pytest.raises(ProcessingFailure, match=how):
                    waiting.result(60)
                assert is_gone(child.pid)
            if how == "cancelled" or helpers.exists():
                assert all(is_gone(int(pid)) for pid in helpers.read_text().split())
            assert not _children_of(nursery.pid)
    finally:
        nursery.stop()


def _children_of(pid: int | None) -> list[str]:
    """The living processes below the forkserver, which takes over orphans."""
    for _ in range(1000):
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if not found:
            break
        time.sleep(0.01)
    return found


def test_a_dead_forkserver_is_replaced_and_its_jobs_are_handed_back(tmp_path: Path) -> None:
    nursery = started(tmp_path)
    try:
        first = nursery.pid
        with nursery.child(samples_in(tmp_path)()) as child, ThreadPoolExecutor() as threads:
            helper = child.run("start_helper")
            waiting = threads.submit(child.run, "sleep")
            time.sleep(0.1)
            os.kill(first or 0, signal.SIGKILL)
            with pytest.raises(NurseryDied):
                waiting.result(60)
        assert isinstance(helper, FetchReport)
        assert is_gone(helper.files)
        assert is_gone(child.pid)
        with nursery.child(samples_in(tmp_path)()) as child:
            assert isinstance(child.run("work"), FetchReport)
        assert nursery.pid != first
    finally:
        nursery.stop()


def test_a_large_job_steps_back_from_the_processors(tmp_path: Path) -> None:
    nursery = started(tmp_path)
    try:
        sample = samples_in(tmp_path)
        with nursery.child(sample()) as usual, nursery.child(sample("LOC_2.1"), gently=True) as gentle:
            assert os.getpriority(os.PRIO_PROCESS, usual.pid or 0) < os.getpriority(os.PRIO_PROCESS, gentle.pid or 0)
    finally:
        nursery.stop()


def test_a_retired_nursery_ends_with_its_last_job_and_takes_no_other(tmp_path: Path) -> None:
    nursery = started(tmp_path)
    try:
        forkserver, sample = nursery.pid, samples_in(tmp_path)
        with nursery.child(sample()) as child:
            nursery.retire()
            with pytest.raises(NurseryDied, match="another nursery"), nursery.child(sample("LOC_2.1")):
                pass
            assert isinstance(child.run("work"), FetchReport)
        assert is_gone(forkserver)
    finally:
        nursery.stop()


def test_a_retired_nursery_that_dies_is_not_replaced(tmp_path: Path) -> None:
    nursery = started(tmp_path)
    try:
        with nursery.child(samples_in(tmp_path)()) as child, ThreadPoolExecutor() as threads:
            nursery.retire()
            waiting = threads.submit(child.run, "sleep")
            os.kill(nursery.pid or 0, signal.SIGKILL)
            with pytest.raises(NurseryDied):
                waiting.result(60)
        assert nursery.pid is None
    finally:
        nursery.stop()


def test_a_stopping_nursery_hands_back_and_leaves_nothing(tmp_path: Path) -> None:
    nursery = started(tmp_path)
    forkserver = nursery.pid
    with ThreadPoolExecutor() as threads, nursery.child(samples_in(tmp_path)()) as child:
        waiting = threads.submit(child.run, "sleep")
        time.sleep(0.1)
        nursery.stop()
        with pytest.raises(NurseryDied):
            waiting.result(60)
    assert is_gone(forkserver)
    assert is_gone(child.pid)
    with pytest.raises(NurseryDied), nursery.child(samples_in(tmp_path)()):
        pass


def test_a_nursery_that_cannot_load_its_parts_says_so() -> None:
    nursery = Nursery(SETTINGS, {}, local_run="there_is_no_such_module:Steps")
    with pytest.raises(NotReady):
        nursery.start()


def test_more_cpu_time_than_allowed_ends_a_process(tmp_path: Path) -> None:
    """The wall limit is kept by the worker; this one holds even when nobody watches."""
    code = "from readvault.nursery.sandbox import Limits, enter\nenter(Limits(10**9, 1, 10**6))\nwhile True: pass"
    ended = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert ended.returncode == -signal.SIGXCPU


def test_when_a_worker_is_killed_its_nursery_and_all_jobs_go_with_it(tmp_path: Path) -> None:
    """kill -9 of the worker, which can tell nobody: no forkserver, no child and no helper of a child is left."""
    code = """
import sys, time
from pathlib import Path
from tests.integration.nursery.scenes import samples_in, started
folder = Path(sys.argv[1])
nursery = started(folder)
with nursery.child(samples_in(folder)()) as child:
    print(nursery.pid, child.pid, child.run("start_helper").files, flush=True)
    child.run("sleep")
"""
    worker = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=REPOSITORY)
    with worker:
        assert worker.stdout is not None
        pids = [int(pid) for pid in worker.stdout.readline().split()]
        worker.kill()
    assert len(pids) == 3
    assert all(is_gone(pid) for pid in pids)
