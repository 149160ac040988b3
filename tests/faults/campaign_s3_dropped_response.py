"""S3 does what it is asked, and nobody hears of it."""

from __future__ import annotations

from tests.faults.s3_trials import campaign

CAMPAIGN = campaign("dropped_response")
