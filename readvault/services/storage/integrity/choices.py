"""What a maintainer chooses of a verification, within bounds: a form of Prefect's, and the command line."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from readvault.domain.forms import in_order
from readvault.services.house import House
from readvault.services.storage.integrity.verification import Verification, verify


class VerifyIntegrity(BaseModel):
    """How much is read, how fast, and whether damage is repaired. What is left out is a setting (`storage.…`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=in_order)

    days: float | None = Field(
        None,
        ge=0,
        le=3650,
        title="Days",
        description="Read again what was not read in so many days; None: as the setting"
        " `READVAULT_STORAGE__VERIFY_EVERY_DAYS` says.",
    )
    minutes: float | None = Field(
        None,
        gt=0,
        le=1440,
        title="Minutes",
        description="Stop after so long, the next run goes on; None: as the setting"
        " `READVAULT_STORAGE__VERIFY_MINUTES` says.",
    )
    repair: bool = Field(True, title="Repair", description="Put damaged bytes back from wherever they still are.")

    def verify(
        self,
        house: House,
        progress: Callable[[Verification], None] = lambda _: None,
        *,
        stopping: threading.Event | None = None,
    ) -> Verification:
        """Do it, until `stopping` is set: then as if its time were up."""
        end = stopping or threading.Event()
        usual = house.settings.storage
        rate = usual.verify_megabytes_per_second
        return verify(
            house,
            days=usual.verify_every_days if self.days is None else self.days,
            bytes_per_second=None if rate is None else rate * 10**6,
            budget_seconds=60 * (usual.verify_minutes if self.minutes is None else self.minutes),
            repairs=self.repair,
            progress=progress,
            pause=end.wait,
            stopped=end.is_set,
        )
