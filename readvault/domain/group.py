"""A group of submitters, in Loculus's wire shape (`groupName`, `postalCode`, …)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")


class Address(_Wire):
    """The postal address of a group."""

    line1: str
    line2: str = ""
    city: str
    state: str = ""
    postal_code: str
    country: str


class GroupDetails(_Wire):
    """What a user says about a group."""

    group_name: str = Field(min_length=1)
    institution: str
    address: Address
    contact_email: str


class GroupView(_Wire):
    """A group as people see it; `contact_email` is None for anonymous readers."""

    group_id: int
    group_name: str
    institution: str
    address: Address
    contact_email: str | None
