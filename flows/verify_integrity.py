"""What was sealed is still there and still the same, or it is put back."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from readvault.bootstrap import worker_house
from readvault.services.storage.integrity.choices import VerifyIntegrity
from tasks import endings
from tasks.counting import Counting


@flow(name="verify-integrity", persist_result=False, validate_parameters=True)
def verify_integrity(chosen: VerifyIntegrity = VerifyIntegrity()) -> State[Any]:  # noqa: B008 - it is frozen
    """Compare the bucket with the database, read what is due, and repair what is damaged.

    Args:
        chosen: How much is read, and whether damage is repaired.
    """
    try:
        with Counting("verify-integrity") as counting:
            done = worker_house().verify(chosen, counting.verification)
    except Exception as fault:
        return endings.failed(fault)
    return endings.verified(done)
