"""Release: what follows the approval. All of it can be done twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from readvault.services.house import House
    from readvault.services.processing import Claim


def publish(house: House, claim: Claim) -> int:
    """Lock the released files in S3, write the release's record beside them, end the job; how many files.

    Raises ProcessingFailure when a file of the manifest isn't in S3 as it was approved, and LeaseLost.
    """
    raise NotImplementedError


def released_data(house: House, organism: str) -> Iterator[dict[str, Any]]:
    """Every version ever released, by accession and version, as Loculus's get-released-data lines."""
    raise NotImplementedError
