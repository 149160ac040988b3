"""What all wire shapes share: Loculus's JSON, camelCase and written nulls everywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field
from pydantic.alias_generators import to_camel

from readvault.api.dependencies import MAX_INT
from readvault.domain.identifiers import AccessionVersion

MAX_SIZE = 2**63 - 1
GroupId = Annotated[int, Field(ge=0, le=MAX_INT)]
Item = TypeVar("Item")
MAX_ITEMS = 100_000
Many = Annotated[list[Item], Field(max_length=MAX_ITEMS), FailFast()]
"""A list in a body. It fails at its first bad item: a list of a million bad ones would cost minutes and gigabytes."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]


class Wire(BaseModel):
    """What is sent or received. Unknown properties are ignored: Loculus's clients send some back."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class Version(Wire):
    """An accession version."""

    accession: str
    version: int

    @classmethod
    def of(cls, accession_version: AccessionVersion) -> Version:
        return cls(accession=accession_version.accession, version=accession_version.version)


def when(moment: float) -> str:
    """A moment (seconds since 1970) as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
