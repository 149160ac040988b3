"""What a maintainer fills in when a flow is started in Prefect's UI.

The form shows a field's title, description and bounds only where it belongs to a model, calls a field
optional that has a default, and shows `None` as a switch between types: so what is needed has no
default. Prefect refuses what breaks a bound before it makes a run. Everybody with Prefect's password
reads what was filled in.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, model_validator

from readvault.domain.forms import in_order

NOT_ASKED: Any = None
"""In place of a form's model when the instance starts a run by itself: it then gives the ID of a job."""
NAME = r"^\s*[A-Za-z0-9_]+\.[1-9][0-9]*\s*$"


class Form(BaseModel):
    """A part of a form; anything else than its fields is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=in_order)


class Entry(Form):
    """An entry by its accession version."""

    accession_version: str = Field(
        title="Accession version",
        description="Accession, dot, version: for example `LOC_000001Y.1`.",
        pattern=NAME,
        max_length=60,
    )

    @model_validator(mode="wrap")
    @classmethod
    def _or_not_asked(cls, given: Any, validate: ModelWrapValidatorHandler[Any]) -> Any:
        """Prefect's own engine, in a stock worker, validates defaults too; the form's schema stays as it is."""
        return NOT_ASKED if given is NOT_ASKED else validate(given)


class EntryAgain(Entry):
    """An entry that is processed again."""

    reason: str = Field(
        title="Reason",
        description="Why it is processed again. It stays in the audit log, and everybody with Prefect's password"
        " reads it here: no names, nothing of the samples.",
        min_length=3,
        max_length=500,
    )


class CollectGarbage(Form):
    """Whether garbage is only counted."""

    dry_run: bool = Field(
        True, title="Only count", description="Only count what is garbage. Switch it off to condemn and delete."
    )


class Recover(Form):
    """When a job has waited for too long."""

    alarm_after_minutes: int = Field(
        60,
        title="Alarm after (minutes)",
        description="Send the event `readvault.queue.old` when a job is due for longer than this.",
        ge=1,
        le=10_080,
    )


class Summarize(Form):
    """Which day is told."""

    days_ago: int = Field(
        1, title="Days ago", description="Which day (UTC): 1 is yesterday, 0 today so far.", ge=0, le=3660
    )
