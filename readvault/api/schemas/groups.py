"""The wire shapes of groups."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from readvault.api.dependencies import Text, all_storable
from readvault.api.schemas.wire import Wire
from readvault.domain.group import GroupDetails

MAX_TEXT = 1000
"""Characters of a name, an institution, an address line: everybody who lists groups gets them."""


def _short(details: GroupDetails) -> GroupDetails:
    texts = {**details.model_dump(by_alias=True, exclude={"address"}), **details.address.model_dump(by_alias=True)}
    if long := [name for name, text in texts.items() if len(text) > MAX_TEXT]:
        raise ValueError(f"{', '.join(long)} may have {MAX_TEXT} characters")
    return details


GroupBody = Annotated[GroupDetails, BeforeValidator(all_storable), AfterValidator(_short)]
"""The body of `POST /groups`."""


class GroupName(Wire):
    """The parameters of `GET /groups`."""

    name: Text | None = None
