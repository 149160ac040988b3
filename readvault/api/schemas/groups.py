"""The wire shapes of groups."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from readvault.api.dependencies import Text, all_storable
from readvault.api.schemas.wire import Wire
from readvault.domain.group import GroupDetails

GroupBody = Annotated[GroupDetails, BeforeValidator(all_storable)]
"""The body of `POST /groups`."""


class GroupName(Wire):
    """The parameters of `GET /groups`."""

    name: Text | None = None
