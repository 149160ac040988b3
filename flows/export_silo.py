"""Public aligned reads of an organism become one set that SILO loads: new samples enter, closed ones leave."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from readvault.bootstrap import worker_house
from readvault.services.exports.form import ExportSilo
from tasks import artifacts, endings


@flow(name="export-silo", persist_result=False, validate_parameters=True)
def export_silo(chosen: ExportSilo = ExportSilo()) -> State[Any]:  # noqa: B008 - it is frozen
    """Put the released reads together for SILO, out of parts that are there and those of new or changed samples.

    Args:
        chosen: Which organism.
    """
    try:
        made = worker_house().export_silo(chosen)
    except Exception as fault:
        return endings.failed(fault)
    for organism, done in made.items():
        artifacts.show_counts(f"export-silo-{organism}".lower().replace("_", "-"), done.figures)
    told = [f"{organism}: {done.told}" for organism, done in made.items()]
    return Completed(message="; ".join(told) or "no organism has reads for SILO")
