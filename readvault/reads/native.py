"""Functions that numba compiles: loops over every byte of the reads, without the interpreter's lock.

They are compiled for their one signature when their module is imported (which the nursery does before
it forks) and kept beside the source, so that only the first import after a change takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from numba import njit


def compiled[F: Callable[..., object]](signature: str) -> Callable[[F], F]:
    """Compile the function for `signature`, as numba writes it.

    Where nothing may be written beside the source, nor to `NUMBA_CACHE_DIR`, nor to the user's cache,
    the function is compiled in each process anew.
    """

    def decorate(function: F) -> F:
        try:
            made = njit(signature, cache=True, nogil=True)(function)
        except RuntimeError as fault:
            if "cannot cache" not in str(fault):
                raise
            made = njit(signature, nogil=True)(function)
        return cast("F", made)

    return decorate


def inlined[F: Callable[..., object]](function: F) -> F:
    """Make the function a part of each compiled one that calls it; Python itself should not call it."""
    return cast("F", njit(nogil=True, forceinline=True)(function))
