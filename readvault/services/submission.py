"""Submitting entries: files are sealed and jobs written in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

from readvault.domain.actor import Actor
from readvault.services.house import House


@dataclass(frozen=True, slots=True)
class SubmittedEntry:
    """One accession version that came into being."""

    accession: str
    version: int
    submission_id: str


def submit(
    house: House,
    actor: Actor | None,
    organism_name: str,
    *,
    group_id: int,
    metadata: bytes,
    metadata_name: str,
    sequences: bytes | None = None,
    sequences_name: str | None = None,
    terms_type: str | None = None,
    restricted_until: str | None = None,
) -> list[SubmittedEntry]:
    """Submit all rows of a metadata file, or none: their files are sealed and each waits as a job.

    `metadata` is a TSV and `sequences` a FASTA file, perhaps compressed, as their names tell.
    Raises BadRequest (400), Forbidden, NotFound, TooLarge, TooMany and Unprocessable (422, with all
    faults at once) in Loculus's words.
    """
    raise NotImplementedError
