"""Requests to S3 wait on their way."""

from __future__ import annotations

from tests.faults.s3_trials import campaign

CAMPAIGN = campaign("delay")
