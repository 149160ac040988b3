"""S3 refuses what it is asked: 500, 503 SlowDown, 429."""

from __future__ import annotations

from tests.faults.s3_trials import campaign

CAMPAIGN = campaign("status")
