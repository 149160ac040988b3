"""Answers of S3 lack their end, and no header tells."""

from __future__ import annotations

from tests.faults.s3_trials import campaign

CAMPAIGN = campaign("truncate")
