"""Downloads: where a processed file may be read, for those who may read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from readvault.domain.actor import Actor
    from readvault.services.house import House


def file_url(
    house: House, actor: Actor | None, accession: str, version: int, category: str, name: str, *, head: bool = False
) -> str:
    """A short-lived pre-signed URL of a processed file: a secret. `actor` None is an anonymous reader.

    Released: the file of the released manifest, at its pinned object version, for all. Unreleased: the file of the
    current manifest, for the group. Raises NotFound, Unauthenticated, Forbidden.
    """
    raise NotImplementedError
