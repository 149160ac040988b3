"""htslib as a program of its own: a CRAM on standard input becomes an uncompressed BAM on standard output.

A file that crashes it, or makes it take more memory than reads need, ends this process and no other.
It is started with an environment in which references come from one directory of ours, and is
given no path at all.
"""

from __future__ import annotations

import resource
import sys

import pysam

MEMORY = 3 << 30
"""Bytes of address space."""


def main() -> int:
    """Decode; 0 when all of the file was read."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        pysam.view("-u", "--no-PG", "-o", "-", "-", catch_stdout=False)
    except pysam.SamtoolsError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
