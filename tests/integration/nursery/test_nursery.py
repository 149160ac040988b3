"""The nursery keeps what user files do to native code away from the worker and from other jobs."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from readvault.domain.errors import ChildDied, InvalidSubmission, ProcessingFailure
from readvault.domain.reports import FetchReport, StageReport
from readvault.nursery import Nursery
from tests.integration.nursery.scenes import Samples, is_gone, samples_in, started


@pytest.fixture
def sample(tmp_path: Path) -> Samples:
    return samples_in(tmp_path)


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    os.environ["READVAULT_S3__WORKER__SECRET_KEY"] = "SECRET"
    nursery = started(tmp_path_factory.mktemp("scratch"))
    yield nursery
    nursery.stop()
    del os.environ["READVAULT_S3__WORKER__SECRET_KEY"]


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
    with nursery.child(sample()) as child, pytest.raises(ProcessingFailure, match="fail: a tool crashed"):
        child.run("fail")


def test_of_an_unexpected_error_only_its_type_is_told(nursery: Nursery, sample: Samples) -> None:
    with nursery.child(sample()) as child, pytest.raises(ProcessingFailure) as failure:
        child.run("slip")
    assert failure.value.cause == "ValueError"
    assert "ACGT" not in repr(failure.value)
    assert failure.value.__cause__ is None


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
        assert isinstance(look, StageReport)
        assert look.files == 0
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
    assert isinstance(helper, FetchReport)
    assert is_gone(helper.files)


def test_a_cancelled_job_is_killed_alone(nursery: Nursery, sample: Samples) -> None:
    with (
        nursery.child(sample("LOC_000001Y.1")) as child,
        nursery.child(sample("LOC_000002W.1")) as other,
        ThreadPoolExecutor() as threads,
    ):
        waiting = threads.submit(child.run, "sleep")
        time.sleep(0.1)
        child.cancel()
        with pytest.raises(ChildDied, match="cancelled"):
            waiting.result(60)
        assert isinstance(other.run("work"), FetchReport)


def test_a_native_call_that_holds_its_interpreter_holds_no_other(nursery: Nursery, sample: Samples) -> None:
    """While a child is inside one long native call, the worker renews leases as if nothing were."""
    (sample().directory / "seconds").write_text("2")
    renewals: list[float] = []
    done = threading.Event()

    def renew() -> None:
        while not done.wait(0.05):
            renewals.append(time.monotonic())

    renewer = threading.Thread(target=renew)
    renewer.start()
    with nursery.child(sample()) as child:
        assert child.run("hold_the_interpreter") == FetchReport(files=2, bytes=0)
    done.set()
    renewer.join()
    gaps = [later - sooner for sooner, later in itertools.pairwise(renewals)]
    assert len(renewals) >= 10
    assert max(gaps) < 1.5, "of the two seconds; a busy machine may take its part"
