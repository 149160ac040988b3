"""What other entries of the same group say about an entry: swapped sequences, and files that were sent twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import batched

from sqlalchemy import func, select
from sqlmodel import col

from readvault.db.tables import EntryFile, EntryVersion, UploadedFile
from readvault.domain.annotations import Annotation, Reason
from readvault.domain.identifiers import AccessionVersion
from readvault.services.house import House
from readvault.services.processing import likeness
from readvault.services.queue.fence import Claim

COMPARED = 500
"""How many entries of a batch are looked at: the nearest ones, since it is neighbours that are swapped."""

CLEARLY = 0.5
"""A sequence fits clearly better when it lacks at most this part of the words that the entry's own one lacks."""

PAGE = 50


def with_swap_named(
    house: House, claim: Claim, called: Mapping[str, str], errors: tuple[Annotation, ...]
) -> tuple[Annotation, ...]:
    """The errors; where the reads are not those of the sequence, the entry whose sequence they fit is named.

    `called` is the consensus of the reads. Only entries of the same submission are compared, which are of one group.
    """
    if not called or not any(error.reason is Reason.CONSENSUS_DISAGREES for error in errors):
        return errors
    fitting = _best_fit(house, claim, called)
    if fitting is None:
        return errors
    name, submission_id = fitting
    hint = f" They fit the sequence of {name} ({submission_id}), which was submitted with it: were two swapped?"
    return tuple(
        replace(error, message=error.message + hint) if error.reason is Reason.CONSENSUS_DISAGREES else error
        for error in errors
    )


def _best_fit(house: House, claim: Claim, called: Mapping[str, str]) -> tuple[AccessionVersion, str] | None:
    """The entry of the same submission whose sequence the called one fits clearly better than its own."""
    these = likeness.words(called.values())
    key = claim.accession_version
    with house.sessions.read() as session:
        own = session.get_one(EntryVersion, (key.accession, key.version))
        together = (
            col(EntryVersion.organism) == own.organism,
            col(EntryVersion.group_id) == own.group_id,
            col(EntryVersion.submitted_at) == own.submitted_at,
        )
        names = session.scalars(select(col(EntryVersion.accession)).where(*together).order_by("accession")).all()
    place = names.index(own.accession)
    nearest = sorted((name for name in names if name != own.accession), key=lambda n: abs(names.index(n) - place))
    best, least = None, CLEARLY * likeness.missing(these, own.submitted_sequences.values())
    for page in batched(nearest[:COMPARED], PAGE):
        with house.sessions.read() as session:
            others = session.scalars(
                select(EntryVersion).where(*together, col(EntryVersion.accession).in_(page)).order_by("accession")
            ).all()
        for other in others:
            lacking = likeness.missing(these, other.submitted_sequences.values()) if other.submitted_sequences else 1.0
            if lacking < least:
                best, least = other, lacking
    return None if best is None else (AccessionVersion(best.accession, best.version), best.submission_id)


def same_files(house: House, claim: Claim, hashes: Mapping[str, tuple[str, str]]) -> tuple[Annotation, ...]:
    """A warning for each file that an earlier entry of the group has too.

    `hashes` holds label and SHA-256 by file ID. Earlier entries only, so that an entry's result does
    not change when others come.
    """
    by_content = {sha256: label for label, sha256 in hashes.values()}
    if not by_content:
        return ()
    found: dict[str, str] = {}
    with house.sessions.read() as session:
        for column in (col(UploadedFile.sha256), col(UploadedFile.declared_sha256)):
            rows = session.execute(
                select(column, func.min(col(EntryFile.accession)))
                .join(EntryFile, col(UploadedFile.id) == col(EntryFile.file_id))
                .where(
                    col(UploadedFile.group_id) == claim.group_id,
                    column.in_(by_content),
                    col(EntryFile.accession) < claim.accession_version.accession,
                )
                .group_by(column)
            )
            for content, accession in rows:
                found[content] = min(accession, found.get(content, accession))
    return tuple(
        Annotation(Reason.FILE_IN_OTHER_ENTRY, f"The entry {found[content]} has the same file.", file=label)
        for content, label in by_content.items()
        if content in found
    )
