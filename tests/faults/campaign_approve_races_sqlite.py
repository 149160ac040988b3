"""Sixteen threads change the same entry at once, on SQLite."""

from __future__ import annotations

from tests.faults.races import campaign

CAMPAIGN = campaign("sqlite")
