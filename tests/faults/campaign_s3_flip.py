"""One bit turns between us and S3."""

from __future__ import annotations

from tests.faults.s3_trials import campaign

CAMPAIGN = campaign("flip")
