"""What all parts of an organism file share: they are strict, and sizes are read as people write them."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def _bytes(value: Any) -> Any:
    """Read `20 GB` as 20,000,000,000."""
    if isinstance(value, str) and (match := re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kMGT]?)B?\s*", value)):
        return int(float(match[1]) * _UNITS[match[2]])
    return value


Bytes = Annotated[int, BeforeValidator(_bytes), Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    """Every key is known, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class SampleType(StrEnum):
    """What was sequenced: a sample of one infection, or sewage with many of them."""

    CLINICAL = "clinical"
    WASTEWATER = "wastewater"
