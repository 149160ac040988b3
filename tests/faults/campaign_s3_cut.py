"""The connection to S3 breaks in the middle."""

from __future__ import annotations

from tests.faults.s3_trials import campaign

CAMPAIGN = campaign("cut")
