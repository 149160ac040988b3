"""A day in figures, for the maintainers' morning."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from readvault.bootstrap import worker_house
from readvault.services.housekeeping.day_as_text import headline, markdown
from tasks import artifacts, endings
from tasks.forms import Summarize


@flow(name="summarize", persist_result=False, validate_parameters=True)
def summarize(chosen: Summarize = Summarize()) -> State[Any]:  # noqa: B008 - it is frozen
    """Count what came, what was made of it, what failed and what waits; the artifact `daily-summary` shows it.

    Args:
        chosen: Which day.
    """
    try:
        day = worker_house().day_in_figures(chosen.days_ago)
    except Exception as fault:
        return endings.failed(fault)
    artifacts.show_text("daily-summary", markdown(day), headline(day))
    return Completed(message=headline(day))
