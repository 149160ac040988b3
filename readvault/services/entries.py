"""What people see of entries: the list with statuses, and one version with all its files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import ProcessingResult, Status

if TYPE_CHECKING:
    from readvault.domain.actor import Actor
    from readvault.services.house import House


def list_entries(
    house: House,
    actor: Actor,
    organism: str,
    *,
    group_ids: Sequence[int] | None = None,
    statuses: Sequence[Status] | None = None,
    results: Sequence[ProcessingResult] | None = None,
    page: int | None = None,
    size: int | None = None,
) -> dict[str, Any]:
    """The actor's entries, in the shape of Loculus's get-sequences; `page` counts from 0.

    Counts ignore filters and paging, except organism and groups. Raises Forbidden for a foreign group.
    """
    raise NotImplementedError


def submitted_and_processed(
    house: House, actor: Actor, organism: str, accession_version: AccessionVersion
) -> dict[str, Any]:
    """All that a reviewer needs of one version, in the shape of Loculus's get-data-to-edit.

    Our extra keys: per file `url` (pre-signed, short-lived: a secret), `size`, `sha256`; `manifestDigest`,
    `processingResult`, `pipelineVersion`, `job`. Raises Unprocessable for an unknown version, Forbidden for a
    foreign one.
    """
    raise NotImplementedError
