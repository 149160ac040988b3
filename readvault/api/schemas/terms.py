"""The wire shapes of data use terms."""

from __future__ import annotations

from readvault.api.dependencies import Text
from readvault.api.schemas.wire import Many, Wire


class Terms(Wire):
    """`OPEN`, or `RESTRICTED` until a date (YYYY-MM-DD)."""

    type: Text
    restricted_until: Text | None = None


class TermsChange(Wire):
    """The body of `PUT /data-use-terms`."""

    accessions: Many[Text]
    new_data_use_terms: Terms
