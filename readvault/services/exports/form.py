"""What is filled in where an export is started by hand, in Prefect's form; left empty, it is the nightly run."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field

from readvault.domain.errors import BadRequest
from readvault.domain.forms import in_order
from readvault.domain.organism import Organism
from readvault.domain.reads import ProcessedCategory
from readvault.services.house import House


class ExportSilo(BaseModel):
    """Of which organism the released reads are exported for SILO."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=in_order)

    organism: str = Field(
        "", title="Organism", max_length=60, description="Its name. Empty: all organisms that have reads for SILO."
    )
    anew: bool = Field(
        False,
        title="Make everything anew",
        description="Read and write the lines of all samples again, not only of those that are new or changed.",
    )

    def organisms(self, house: House) -> Iterator[Organism]:
        """Those that are exported. Raises BadRequest for one that is unknown or has no reads for SILO."""
        if not self.organism:
            yield from (rules for rules in house.organisms.values() if is_exported(rules))
            return
        rules = house.organism(self.organism)
        if not is_exported(rules):
            raise BadRequest(f"{self.organism} has no reads for SILO (pipeline.outputs), or several references.")
        yield rules


def is_exported(organism: Organism) -> bool:
    """Whether an organism's pipeline writes reads for SILO, on one reference genome."""
    external = organism.pipeline.external
    ours = external is None or external.mode == "after"
    return ours and ProcessedCategory.SILO_READS in organism.pipeline.outputs and organism.reference is not None
