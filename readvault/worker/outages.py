"""Outages that a job meets and is not to blame for: the scratch disk, the database."""

from __future__ import annotations

import errno

from readvault.db.faults import is_passing
from readvault.domain.errors import ScratchFull

_FULL = (errno.ENOSPC, errno.EDQUOT)


def outage_of(fault: BaseException) -> str | None:
    """What of ours was missing, as maintainers read it; None for any other fault."""
    if isinstance(fault, ScratchFull):
        return str(fault)
    if isinstance(fault, OSError) and fault.errno in _FULL:
        return "the scratch disk is full"
    if is_passing(fault):
        return f"the database was locked or out of reach ({type(fault).__name__})"
    return None
