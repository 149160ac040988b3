"""The nursery keeps what user files do to native code away from the worker and from other jobs."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from readvault.config import WorkerSettings
from readvault.domain.errors import InvalidSubmission, NotReady, ProcessingFailure
from readvault.domain.organism import Organism, Reference
from readvault.domain.reports import FetchReport, StageReport
from readvault.nursery import ChildDied, Nursery, NurseryDied
from readvault.reads.sample import Sample

REPOSITORY = Path(__file__).resolve().parents[3]
ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY), "WORKER": str(os.getpid())}
SETTINGS = WorkerSettings(memory_limit=2 * 10**9, file_size_limit=10**6)

Samples = Callable[..., Sample]


@pytest.fixture
def sample(tmp_path: Path) -> Samples:
    """Makes samples, each with a directory of its own."""

    def make(name: str = "LOC_000001Y.1") -> Sample:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        organism = Organism(name="tiny", reference=Reference(fasta=Path("tiny.fasta")))
        return Sample(name=name, organism=organism, inputs=(), directory=directory)

    return make


def started(settings: WorkerSettings = SETTINGS, home: Path | None = None) -> Nursery:
    nursery = Nursery(
        settings.model_copy(update={"scratch": home}) if home else settings,
        {},
        local_run="tests.unit.nursery.steps:Steps",
        environment=ENVIRONMENT,
    )
    nursery.start()
    return nursery


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    os.environ["READVAULT_S3__WORKER__SECRET_KEY"] = "SECRET"
    nursery = started(home=tmp_path_factory.mktemp("scratch"))
    yield nursery
    nursery.stop()
    del os.environ["READVAULT_S3__WORKER__SECRET_KEY"]


def is_gone(pid: int) -> bool:
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_a_child_does_steps_and_hands_on_its_result(nursery: Nursery, sample: Samples) -> None:
    with nursery.child(sample()) as child:
        report = child.run("work")
        assert report == FetchReport(files=child.pid or 0, bytes=nursery.pid or 0)
        assert child.result() == sample().directory
    assert is_gone(child.pid or 0)


def test_a_refusal_arrives_with_all_its_annotations(nursery: Nursery, sample: Samples) -> None:
    with nursery.child(sample()) as child:
        with pytest.raises(InvalidSubmission) as refusal:
            child.run("refuse")
        assert refusal.value.annotations[0].line == 3
        assert isinstance(child.run("work"), FetchReport)


def test_our_failure_arrives_as_it_is(nursery: Nursery, sample: Samples) -> None:
    with nursery.child(sample()) as child, pytest.raises(ProcessingFailure, match="^fail: a tool crashed$"):
        child.run("fail")


def test_of_an_unexpected_error_only_its_type_is_told(nursery: Nursery, sample: Samples) -> None:
    with nursery.child(sample()) as child, pytest.raises(ProcessingFailure) as failure:
        child.run("slip")
    assert failure.value.cause == "ValueError"
    assert "ACGT" not in repr(failure.value) and failure.value.__cause__ is None


@pytest.mark.parametrize(
    ("step", "cause"),
    [("segfault", "SIGSEGV"), ("be_killed", "SIGKILL"), ("leave", "ended with code 3")],
)
def test_the_death_of_a_child_leaves_its_neighbours_alone(
    nursery: Nursery, sample: Samples, step: str, cause: str
) -> None:
    forkserver = nursery.pid
    with nursery.child(sample("LOC_000001Y.1")) as neighbour, nursery.child(sample("LOC_000002W.1")) as child:
        with pytest.raises(ChildDied, match=cause):
            child.run(step)
        assert isinstance(neighbour.run("work"), FetchReport)
    assert nursery.pid == forkserver


def test_more_memory_than_allowed_is_our_failure(nursery: Nursery, sample: Samples) -> None:
    with nursery.child(sample()) as child, pytest.raises(ProcessingFailure, match="memory limit"):
        child.run("eat_memory")


def test_a_larger_file_than_allowed_is_our_failure(nursery: Nursery, sample: Samples) -> None:
    with nursery.child(sample()) as child, pytest.raises(ProcessingFailure, match="file size limit"):
        child.run("write_too_much")


def test_children_see_no_secret_and_reach_no_network(nursery: Nursery, sample: Samples) -> None:
    """A child's own environment never holds the worker's settings; the network is a world of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server, nursery.child(sample()) as child:
        (sample().directory / "port").write_text(str(server.getsockname()[1]))
        look = child.run("look_around")
        assert isinstance(look, StageReport) and look.files == 0
        reached = child.run("call_home")
        if not child.is_cut_off:
            pytest.skip("this system permits no network namespaces")
        assert reached == FetchReport(files=0, bytes=0)


def test_an_answer_that_is_code_is_not_believed(nursery: Nursery, sample: Samples) -> None:
    with nursery.child(sample()) as child, pytest.raises(ProcessingFailure, match="can't be read"):
        child.run("take_over")


def test_what_a_job_has_started_ends_with_it(nursery: Nursery, sample: Samples) -> None:
    """Helpers of a dead child, and of one that simply ended, are gone."""
    with nursery.child(sample()) as child:
        helper = child.run("start_helper")
        assert isinstance(helper, FetchReport)
        with pytest.raises(ChildDied):
            child.run("segfault")
        assert is_gone(helper.files)
    with nursery.child(sample()) as child:
        helper = child.run("start_helper")
    assert isinstance(helper, FetchReport) and is_gone(helper.files)


def test_a_cancelled_job_is_killed_by_name(nursery: Nursery, sample: Samples) -> None:
    with (
        nursery.child(sample("LOC_000001Y.1")) as child,
        nursery.child(sample("LOC_000002W.1")) as other,
        ThreadPoolExecutor() as threads,
    ):
        waiting = threads.submit(child.run, "sleep")
        time.sleep(0.1)
        nursery.kill("LOC_000001Y.1")
        with pytest.raises(ChildDied, match="cancelled"):
            waiting.result(5)
        assert isinstance(other.run("work"), FetchReport)


def test_a_step_over_its_time_is_killed_and_cpu_is_limited(sample: Samples, tmp_path: Path) -> None:
    nursery = started(SETTINGS.model_copy(update={"step_limit": 0.5}), tmp_path)
    try:
        with nursery.child(sample()) as child:
            with pytest.raises(ProcessingFailure, match="^sleep: time limit$"):
                child.run("sleep")
            assert is_gone(child.pid or 0)
    finally:
        nursery.stop()


def test_a_dead_forkserver_is_replaced_and_its_jobs_are_handed_back(sample: Samples, tmp_path: Path) -> None:
    nursery = started(home=tmp_path)
    try:
        first = nursery.pid
        with nursery.child(sample()) as child, ThreadPoolExecutor() as threads:
            helper = child.run("start_helper")
            waiting = threads.submit(child.run, "sleep")
            time.sleep(0.1)
            os.kill(first or 0, signal.SIGKILL)
            with pytest.raises(NurseryDied):
                waiting.result(10)
        assert isinstance(helper, FetchReport) and is_gone(helper.files) and is_gone(child.pid or 0)
        with nursery.child(sample()) as child:
            assert isinstance(child.run("work"), FetchReport)
        assert nursery.pid != first
    finally:
        nursery.stop()


def test_a_stopping_nursery_hands_back_and_leaves_nothing(sample: Samples, tmp_path: Path) -> None:
    nursery = started(home=tmp_path)
    forkserver = nursery.pid
    with ThreadPoolExecutor() as threads, nursery.child(sample()) as child:
        waiting = threads.submit(child.run, "sleep")
        time.sleep(0.1)
        nursery.stop()
        with pytest.raises(NurseryDied):
            waiting.result(10)
    assert is_gone(forkserver or 0) and is_gone(child.pid or 0)
    with pytest.raises(NurseryDied), nursery.child(sample()):
        pass


def test_a_nursery_that_cannot_load_its_parts_says_so() -> None:
    nursery = Nursery(SETTINGS, {}, local_run="there_is_no_such_module:Steps")
    with pytest.raises(NotReady):
        nursery.start()


def test_a_native_call_that_holds_its_interpreter_holds_no_other(nursery: Nursery, sample: Samples) -> None:
    """While a child is inside one long native call, the worker renews leases as if nothing were."""
    (sample().directory / "seconds").write_text("1")
    renewals: list[float] = []
    done = threading.Event()

    def renew() -> None:
        while not done.wait(0.05):
            renewals.append(time.monotonic())

    renewer = threading.Thread(target=renew)
    renewer.start()
    with nursery.child(sample()) as child:
        assert child.run("hold_the_interpreter") == FetchReport(files=1, bytes=0)
    done.set()
    renewer.join()
    gaps = [later - sooner for sooner, later in zip(renewals, renewals[1:], strict=False)]
    assert len(renewals) >= 10
    assert max(gaps) < 0.5
