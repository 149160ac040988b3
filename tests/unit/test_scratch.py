"""What dead workers leave on the scratch disk is swept, and nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from readvault import scratch
from readvault.scratch import LEFT_AFTER, Scratch

LONG_AGO = LEFT_AFTER + 60


def _worker(root: Path, name: str, *, silent: float = 0.0) -> Path:
    """What a worker of this name has on the disk, and how many seconds ago it gave its last sign of life."""
    (root / name / "job-1").mkdir(parents=True)
    mark = root / name / ".readvault-worker"
    mark.touch()
    os.utime(mark, (mark.stat().st_mtime - silent,) * 2)
    return root / name


@pytest.fixture
def dead() -> int:
    """The process ID of nobody."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_what_a_silent_worker_of_another_host_left_is_swept(tmp_path: Path) -> None:
    gone, living = _worker(tmp_path, "pod-7", silent=LONG_AGO), _worker(tmp_path, "pod-8", silent=LEFT_AFTER / 2)
    stranger = tmp_path / "systemd-private-12"
    stranger.mkdir()
    os.utime(stranger, (1, 1))
    assert Scratch(tmp_path, lease=60).sweep() == 1
    assert (gone.exists(), living.exists(), stranger.exists()) == (False, True, True)


def test_a_long_lease_gives_more_time(tmp_path: Path) -> None:
    silent = _worker(tmp_path, "pod-7", silent=LONG_AGO)
    assert Scratch(tmp_path, lease=LEFT_AFTER).sweep() == 0
    assert silent.exists()


def test_a_living_worker_of_this_host_may_be_silent(tmp_path: Path, dead: int) -> None:
    near = _worker(tmp_path, f"{socket.gethostname()}-{os.getppid()}", silent=LONG_AGO)
    gone = _worker(tmp_path, f"{socket.gethostname()}-{dead}", silent=LONG_AGO)
    assert Scratch(tmp_path, lease=60).sweep() == 1
    assert (near.exists(), gone.exists()) == (True, False)


def test_a_new_worker_takes_over_from_dead_ones_of_its_host(tmp_path: Path, dead: int) -> None:
    gone = _worker(tmp_path, f"{socket.gethostname()}-{dead}")
    near = _worker(tmp_path, f"{socket.gethostname()}-{os.getppid()}")
    far = _worker(tmp_path, "pod-7")
    asked: list[str] = []
    Scratch(tmp_path, lease=60).take_over(lambda name: asked.append(name) or 0)  # type: ignore[func-returns-value]
    assert asked == [gone.name]
    assert (gone.exists(), near.exists(), far.exists()) == (False, True, True)


def test_a_job_has_a_directory_and_leaves_none(tmp_path: Path) -> None:
    mine = Scratch(tmp_path, lease=60)
    mine.take_over(lambda _: 0)
    with mine.directory("job-1") as directory:
        (directory / "reads").write_text("ACGT")
        assert mine.sweep() == 0
    assert not directory.exists()
    mine.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_a_repair_that_was_killed_left_is_swept_too(tmp_path: Path) -> None:
    """A copy of somebody's reads would lie there for ever."""
    begun = "from pathlib import Path; from readvault.scratch import temporary; import os, sys\n"
    begun += "with temporary(Path(sys.argv[1]), 'repair') as place:\n"
    begun += "    (place / 'bytes').write_text('ACGT'); os._exit(9)\n"
    subprocess.run([sys.executable, "-c", begun, str(tmp_path)], check=False)
    assert len(list(tmp_path.glob("*/repair-*/bytes"))) == 1
    with scratch.temporary(tmp_path, "repair") as mine:
        Scratch(tmp_path / "other", lease=60).take_over(lambda _: 0)
        assert mine.is_dir()
    assert len(list(tmp_path.glob("*/repair-*/bytes"))) == 1
    Scratch(tmp_path, lease=60).take_over(lambda _: 0)
    assert list(tmp_path.glob("*/repair-*")) == []


def test_a_swept_worker_that_wakes_up_goes_on(tmp_path: Path) -> None:
    mine = Scratch(tmp_path, lease=60)
    mine.take_over(lambda _: 0)
    mine.remove()
    with mine.directory("job-2") as directory:
        assert directory.is_dir()
    assert mine.name == scratch.worker_name()
