"""The stack that the demo uses: the one that runs on this data directory, or one of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from readvault.client import ClientError

SECONDS_TO_START = 120


@contextmanager
def running_stack(
    data_dir: Path, organism: str, say: Callable[[str], None], *arguments: str
) -> Iterator[dict[str, Any]]:
    """The addresses and the login of a stack that has the organism; a stack started here is stopped again.

    Raises ClientError when the stack that runs lacks the organism, or none can be started.
    """
    known = _answering(data_dir)
    if known is not None:
        if organism not in known["organisms"]:
            raise ClientError(
                f"The stack that runs on {data_dir} has no organism {organism!r}. "
                "Stop it, or start it with `readvault up --demo-organism`."
            )
        say(f"using the stack that runs at {known['api']}")
        yield known
        return
    say("starting S3, Prefect, the worker and the API")
    command = [sys.executable, "-m", "readvault.cli.main", "up", "--demo-organism", "--data-dir", str(data_dir)]
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "up.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield _ready(process, data_dir)
    finally:
        _stop(process)


def _answering(data_dir: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((data_dir / "stack.json").read_text(encoding="utf-8"))
        if found["status"] != "ready":
            return None
        os.kill(found["pids"]["up"], 0)
        httpx.get(found["api"], timeout=5).raise_for_status()
    except (OSError, ValueError, KeyError, httpx.HTTPError):
        return None
    return found


def _ready(process: subprocess.Popen[bytes], data_dir: Path) -> dict[str, Any]:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ClientError(f"The stack did not start; {data_dir / 'up.log'} says why.")
        found = _answering(data_dir)
        if found is not None and found["pids"]["up"] == process.pid:
            return found
        time.sleep(0.3)
    raise ClientError(f"The stack was not ready after {SECONDS_TO_START} s; {data_dir / 'up.log'} may say why.")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
