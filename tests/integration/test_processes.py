"""Children end when they must, with everything that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from readvault.adapters.processes import STACK_ID, Child, RunningChild, base_environment, end_leftovers
from readvault.adapters.supervisor import Supervisor
from readvault.domain.errors import NotReady

PYTHON = (sys.executable, "-S", "-E", "-c")
SLEEPER = "import time; print('started', flush=True); time.sleep(100)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-E", "-c", "import time; time.sleep(100)"], process_group=0)
print("started", child.pid, flush=True)
time.sleep(100)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def has_started(running: RunningChild) -> bool:
    return any("started" in line for line in running.last_lines())


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    numbers = iter(range(100))

    def child(code: str, name: str = "child", **more: object) -> Child:
        log = tmp_path / "logs" / f"{name}-{next(numbers)}.log"
        return Child(name=name, argv=(*PYTHON, code), log=log, env=base_environment(), **more)  # type: ignore[arg-type]

    return child


def test_a_child_stops_when_it_is_asked_to(make: Callable[..., Child]) -> None:
    running = RunningChild(make(SLEEPER))
    assert eventually(lambda: has_started(running))
    running.stop()
    assert running.exit_code == -signal.SIGTERM
    assert not is_alive(running.pid)


def test_a_child_that_does_not_stop_is_killed_after_its_grace(make: Callable[..., Child]) -> None:
    running = RunningChild(make(STUBBORN, grace=0.2))
    assert eventually(lambda: has_started(running))
    running.stop()
    assert running.exit_code == -signal.SIGKILL


def test_grandchildren_in_groups_of_their_own_go_too(make: Callable[..., Child]) -> None:
    running = RunningChild(make(FAMILY))
    assert eventually(lambda: has_started(running))
    grandchild = int(running.last_lines()[-1].split()[1])
    assert is_alive(grandchild)
    os.kill(running.pid, signal.SIGKILL)
    assert eventually(lambda: running.exit_code is not None)
    assert eventually(lambda: not is_alive(grandchild))


def test_a_child_dies_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from readvault.adapters.processes import *\n"
            f"child = Child('x', {(*PYTHON, SLEEPER)!r}, Path({str(tmp_path / 'log')!r}), base_environment())\n"
            "c = RunningChild(child)\n"
            "print(c.pid, flush=True); time.sleep(100)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    with parent.stdout as output:
        child = int(output.readline())
        assert is_alive(child)
        parent.kill()
        parent.wait()
    assert eventually(lambda: not is_alive(child))


def test_signals_that_a_shell_script_ignores_reach_the_child(make: Callable[..., Child]) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN), signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        running = RunningChild(make(SLEEPER))
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    assert eventually(lambda: has_started(running))
    running.stop()
    assert running.exit_code == -signal.SIGTERM


def test_what_an_earlier_stack_left_is_found_by_its_mark_and_nothing_else() -> None:
    processes = {
        mark: subprocess.Popen([*PYTHON, "import time; time.sleep(100)"], env={STACK_ID: mark}) for mark in ("a1", "b2")
    }
    try:
        assert eventually(
            lambda: all(STACK_ID in Path(f"/proc/{p.pid}/environ").read_text() for p in processes.values())
        )
        assert end_leftovers("a1") == [processes["a1"].pid]
        assert processes["a1"].wait(10) == -signal.SIGKILL
        assert is_alive(processes["b2"].pid)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def test_no_setting_of_ours_reaches_a_child_that_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("READVAULT_LIMITS__FILES_PER_REQUEST", "5")
    assert "AWS_SECRET_ACCESS_KEY" not in base_environment("READVAULT_")
    assert "READVAULT_LIMITS__FILES_PER_REQUEST" in base_environment("READVAULT_")
    assert "READVAULT_LIMITS__FILES_PER_REQUEST" not in base_environment()


class Supervised:
    """A supervisor whose lines are kept."""

    def __init__(self, *children: Child) -> None:
        self.lines: list[tuple[str, str]] = []
        self.supervisor = Supervisor(children, lambda component, text: self.lines.append((component, text)))

    def until(self, condition: Callable[[], bool]) -> None:
        def tick() -> bool:
            self.supervisor.tick()
            return condition()

        assert eventually(tick)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readvault.adapters.supervisor.FIRST_PAUSE", 0.02)


def test_a_child_waits_for_those_that_it_needs_and_they_outlive_it(make: Callable[..., Child]) -> None:
    welcomed: list[str] = []
    server = make(SLEEPER, "server", ready=has_started, when_ready=lambda: welcomed.append("server"))
    used = make(SLEEPER, "used", ready=has_started)
    user = make(SLEEPER, "user", ready=has_started, needs=("server",), uses=("used",))
    supervised = Supervised(user, server, used)
    supervised.supervisor.tick()
    assert set(supervised.supervisor.pids) == {"server", "used"}
    supervised.until(lambda: supervised.supervisor.ready)
    assert welcomed == ["server"]
    supervised.supervisor.stop()
    stopped = [component for component, text in supervised.lines if not text.startswith("ready")]
    assert (stopped[0], sorted(stopped[1:])) == ("user", ["server", "used"])  # neither needs the other
    assert supervised.supervisor.pids == {}


def test_a_child_that_dies_is_started_again_and_it_is_said(make: Callable[..., Child]) -> None:
    supervised = Supervised(make(SLEEPER, ready=has_started))
    supervised.until(lambda: supervised.supervisor.ready)
    first = supervised.supervisor.pids["child"]
    os.kill(first, signal.SIGKILL)
    supervised.until(lambda: not supervised.supervisor.ready)
    supervised.until(lambda: supervised.supervisor.ready and supervised.supervisor.pids["child"] != first)
    assert "was killed by signal 9" in supervised.lines[1][1]
    supervised.supervisor.stop()


def test_pauses_grow_for_a_child_that_dies_at_once_and_not_for_one_that_has_served(
    make: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    stopped_clock = SimpleNamespace(monotonic=lambda: clock[0], time=time.time, sleep=time.sleep)
    monkeypatch.setattr("readvault.adapters.supervisor.time", stopped_clock)
    monkeypatch.setattr("readvault.adapters.supervisor.FIRST_PAUSE", 1.0)
    supervised = Supervised(make(SLEEPER, ready=has_started))
    for serves in (5, 0, 0, 5, 5):  # seconds
        supervised.until(lambda: supervised.supervisor.ready)
        clock[0] += serves
        os.kill(supervised.supervisor.pids["child"], signal.SIGKILL)
        supervised.until(lambda: not supervised.supervisor.ready)
        clock[0] += 100
    pauses = [text.rpartition("again in ")[2] for _, text in supervised.lines if "again in" in text]
    assert pauses == ["1 s", "2 s", "4 s", "1 s", "1 s"]
    supervised.supervisor.stop()


def test_a_child_that_can_not_start_is_given_up_with_the_end_of_its_log(make: Callable[..., Child]) -> None:
    supervised = Supervised(make("import sys; sys.exit('a key is missing')", ready=lambda running: False))
    with pytest.raises(NotReady, match=r"(?s)child ended with exit code 1 before it was ready.*a key is missing"):
        supervised.until(lambda: False)
    supervised.supervisor.stop()


def test_a_second_signal_ends_the_patience(make: Callable[..., Child]) -> None:
    supervised = Supervised(make(STUBBORN, ready=has_started, grace=60))
    supervised.until(lambda: supervised.supervisor.ready)
    began = time.monotonic()
    supervised.supervisor.stop(hurry=lambda: True)
    assert time.monotonic() - began < 10
    assert "killed" in supervised.lines[-1][1]
