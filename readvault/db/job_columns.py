"""Columns of jobs that are written together."""

from __future__ import annotations

from collections.abc import Mapping

UNDELIVERED: Mapping[str, None] = {
    "lease_owner": None,
    "lease_until": None,
    "run_id": None,
    "delivered_at": None,
    "run_checked_at": None,
    "run_idle_since": None,
}
"""A job that is handed back needs a new delivery: the run that claimed it is over, whatever its orchestrator says."""
