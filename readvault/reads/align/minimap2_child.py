"""minimap2 as a program of its own: `python -m readvault.reads.align.minimap2_child ARGUMENTS`.

The library keeps all output in memory and hides the exit status. So the output is sent to our
standard output here, and success is what minimap2 says at its very end, after the last write.
"""

from __future__ import annotations

import os
import sys

import pyminimap2

_SAID_AT_THE_END = "[M::mm2_main] Real time:"


def main(arguments: list[str]) -> int:
    """Run minimap2; 0 when it wrote everything, else 1."""
    output = os.dup(sys.stdout.fileno())
    _, said = pyminimap2.main([*arguments, "-o", f"/dev/fd/{output}"])
    return 0 if _SAID_AT_THE_END in said else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
