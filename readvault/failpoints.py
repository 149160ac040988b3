"""Places where a test can kill this process, to show that nothing is lost.

Without `READVAULT_FAILPOINTS` in the environment a fail point does nothing. With it, it names a
directory: a file there with the fail point's name arms it once; a number in it says at which passing.
The file goes before the process does, so a restarted process passes.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

VARIABLE = "READVAULT_FAILPOINTS"


def failpoint(name: str) -> None:
    """Kill this process (SIGKILL) when a test has armed `name`."""
    directory = os.environ.get(VARIABLE)
    if directory is None:
        return
    armed = Path(directory) / name
    try:
        passings = int(armed.read_text() or 1)
        if passings > 1:
            armed.write_text(str(passings - 1))
            return
        armed.unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
