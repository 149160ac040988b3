"""What is filled in where nobody is known by name, in Prefect's form: it counts, or it asks. It never confirms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from readvault.domain.forms import in_order
from readvault.domain.reads import Platform
from readvault.domain.status import ProcessingResult
from readvault.services.house import House
from readvault.services.reprocessing import feeding, orders, planning
from readvault.services.reprocessing.choices import Choice, Name
from readvault.services.reprocessing.planning import Plan

DAY = r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$"
WORD = r"^[A-Za-z0-9_.+-]{0,60}$"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a form led to: the plan, and the order that waits for a maintainer; None where it was only counted."""

    plan: Plan
    order_id: int | None


class Reprocess(BaseModel):
    """Which entries get a result of the newest pipeline version. Nothing is done before a maintainer confirms it."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=in_order)

    organism: str = Field(
        "",
        title="Organism",
        max_length=100,
        description="Its name. Empty: no order is made; what orders under way have passed over is picked up.",
    )
    dry_run: bool = Field(
        True, title="Only count", description="Only count entries, bytes and cost. Switch it off to ask for the order."
    )
    reason: str = Field("", title="Reason", max_length=500, description="Why; needed unless it only counts.")
    per_hour: int = Field(
        0, title="Entries an hour", ge=0, le=1_000_000, description="At most so many an hour; 0: no limit of its own."
    )
    accession_versions: tuple[Name, ...] = Field(
        (), title="Accession versions", max_length=1000, description="Only these, as `LOC_000001Y.1`."
    )
    group_ids: tuple[Annotated[int, Field(ge=1, le=2**31 - 1)], ...] = Field(
        (), title="Groups", max_length=100, description="Only entries of these groups."
    )
    released: Literal["any", "released", "unreleased"] = Field(
        "any", title="Released", description="Only what is public, or only what is not."
    )
    versions: Literal["all", "latest"] = Field(
        "all", title="Versions", description="All versions of an accession, or only the newest."
    )
    results: tuple[ProcessingResult, ...] = Field(
        (), title="Results", max_length=3, description="Only where processing ended so."
    )
    platforms: tuple[Platform, ...] = Field(
        (), title="Platforms", max_length=10, description="Only reads of these platforms."
    )
    submitted_from: str = Field("", title="Submitted from", pattern=DAY, description="Day (UTC), as 2026-01-31.")
    submitted_until: str = Field("", title="Submitted until", pattern=DAY, description="Day (UTC), included.")
    processed_from: str = Field("", title="Processed from", pattern=DAY, description="Day (UTC) of today's result.")
    processed_until: str = Field("", title="Processed until", pattern=DAY, description="Day (UTC), included.")
    tool: str = Field("", title="Tool", pattern=WORD, description="Made with this tool, for example `minimap2`.")
    tool_version: str = Field("", title="Version of the tool", pattern=WORD, description="For example `2.30`.")

    @property
    def choice(self) -> Choice:
        """Which entries; raises BadRequest for days that no calendar has."""
        said: dict[str, Any] = {name: getattr(self, name) or None for name in _OF_CHOICE}
        return Choice.of_options(**{name: value for name, value in said.items() if value is not None})

    def carry_out(self, house: House, asker: str) -> Asked | None:
        """Count, or make an order that waits for a maintainer; without an organism pick up what was left (None)."""
        if not self.organism:
            feeding.begin_again(house)
            feeding.feed(house)
            return None
        if self.dry_run:
            organism = planning.processable(house, self.organism)
            with house.sessions.read() as session:
                return Asked(planning.counted(session, organism, self.choice), None)
        row, plan = orders.request_unnamed(
            house, asker, self.organism, self.choice, self.reason, per_hour=self.per_hour or None
        )
        return Asked(plan, row.id)


_OF_CHOICE = tuple(Choice.model_fields)
