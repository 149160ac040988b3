"""The wire shapes of released data."""

from __future__ import annotations

from typing import Literal

from readvault.api.schemas.wire import Wire


class ReleasedDataParameters(Wire):
    """The parameters of `GET /{organism}/get-released-data`."""

    compression: Literal["zstd"] | None = None
