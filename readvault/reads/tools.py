"""The tools beneath the steps: where they are, how they are started, which versions they have.

minimap2 runs in a process of its own: a crash or an exit there is an error here and not the end
of the job. samtools' commands run through pysam, in this process.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pysam
import pysam.version

from readvault.domain.errors import ProcessingFailure

MINIMAP2_AT_LEAST = (2, 30)


@functools.cache
def minimap2_command() -> tuple[str, ...]:
    """How minimap2 is started: the one on PATH if it is recent enough, else the one of `pyminimap2`."""
    found = shutil.which("minimap2")
    if found is not None and _version_on_path(found) is not None:
        return (found,)
    return (sys.executable, "-m", "readvault.reads.align.minimap2_child")


def versions() -> dict[str, str]:
    """The versions of everything that has a say in the results, by tool name."""
    installed = versions_of_packages()
    command = minimap2_command()
    minimap2 = _version_on_path(command[0]) if len(command) == 1 else installed["pyminimap2"]
    return {
        "readvault": installed["readvault"],
        "minimap2": str(minimap2),
        "samtools": str(pysam.__samtools_version__),
        "htslib": str(pysam.version.__htslib_version__),
        "pysam": str(pysam.__version__),
        "deacon": installed["deacon"],
    }


@functools.cache
def versions_of_packages() -> dict[str, str]:
    """The versions of the packages that have a say in the results, as installed when this process first asked."""
    return {package: version(package) for package in ("readvault", "pyminimap2", "deacon")}


def samtools(step: str, command: Any, *arguments: str) -> None:
    """Run one samtools command (`pysam.sort`, `pysam.view`, …); raises ProcessingFailure when it fails.

    What samtools printed is dropped: it can quote reads and paths.
    """
    try:
        command(*arguments, catch_stdout=False)
    except pysam.SamtoolsError as fault:
        raise ProcessingFailure(step, f"samtools {command.dispatch} failed") from fault


@contextmanager
def minimap2(step: str, arguments: list[str]) -> Iterator[str]:
    """Start minimap2 and give the path of a pipe with its SAM; at the end it must have succeeded.

    Raises ProcessingFailure when it ended otherwise. When the block fails, minimap2 is stopped.
    """
    command = [*minimap2_command(), *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout is not None
        try:
            yield f"/dev/fd/{child.stdout.fileno()}"
        except BaseException:
            child.kill()
            raise
        child.stdout.close()
        status = child.wait()
    if status != 0:
        raise ProcessingFailure(step, f"minimap2 ended with status {status}")


@contextmanager
def minimap2_fed(step: str, arguments: list[str], sam: Path) -> Iterator[Callable[[Any], object]]:
    """Start minimap2 to read its standard input, and give what writes to that; its SAM goes to a file.

    At the end it must have succeeded: raises ProcessingFailure when it ended otherwise. When the block
    fails, minimap2 is stopped.
    """
    command = [*minimap2_command(), *arguments]
    with (
        sam.open("wb") as output,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.DEVNULL) as child,
    ):
        assert child.stdin is not None
        try:
            yield child.stdin.write
            child.stdin.close()
        except BrokenPipeError:
            child.kill()
            raise ProcessingFailure(step, "minimap2 ended early") from None
        except BaseException:
            child.kill()
            raise
        status = child.wait()
    if status != 0:
        raise ProcessingFailure(step, f"minimap2 ended with status {status}")


@functools.cache
def _version_on_path(executable: str) -> str | None:
    """The version of a minimap2 that is recent enough, else None."""
    try:
        answer = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.match(r"(\d+)\.(\d+)", answer.stdout)
    if match is None or (int(match[1]), int(match[2])) < MINIMAP2_AT_LEAST:
        return None
    return answer.stdout.strip()
