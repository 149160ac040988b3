"""Everything that was ever released, line by line: what SILO is fed with.

Read page by page, so that memory stays flat; each page is one look at the database. What a
maintainer suppressed or withdrew is not among it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, func, select, tuple_
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.names import among
from readvault.db.tables import (
    CurrentResult,
    DataUseTerms,
    EntryVersion,
    Group,
    Manifest,
    Release,
)
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.domain.processed_data import Shape
from readvault.domain.reads import PROCESSED_FIELDS
from readvault.services.entries.visibility import is_listed
from readvault.services.house import House
from readvault.services.release.external_metadata import content_of
from readvault.services.release.public_files import PublicFile, get_url, public_files, stable_url

PAGE = 500
_NAME = (col(EntryVersion.accession), col(EntryVersion.version))
_COLUMNS = (
    *_NAME,
    col(EntryVersion.submission_id),
    col(EntryVersion.submitter),
    col(EntryVersion.group_id),
    col(EntryVersion.submitted_at),
    col(EntryVersion.is_revocation),
    col(EntryVersion.version_comment),
    col(Release.released_at),
    col(Release.manifest_id),
)


@dataclass(frozen=True, slots=True)
class Released:
    """A released accession version with the result that stands for it. Moments are seconds since 1970."""

    name: AccessionVersion
    submission_id: str
    submitter: str
    group_id: int
    group_name: str
    submitted_at: float
    is_revocation: bool
    version_comment: str | None
    released_at: float
    version_status: str
    terms: dict[str, Any]
    external_metadata: dict[str, Any]
    pipeline_version: int
    digest: str
    processed_data: dict[str, Any]
    files: Sequence[PublicFile]
    manifest_id: int

    def facts(self) -> dict[str, Any]:
        """What Loculus adds to the metadata of everything released."""
        facts = {
            "accession": self.name.accession,
            "version": self.name.version,
            "submissionId": self.submission_id,
            "accessionVersion": str(self.name),
            "isRevocation": self.is_revocation,
            "submitter": self.submitter,
            "groupId": self.group_id,
            "groupName": self.group_name,
            "submittedDate": _day(self.submitted_at).isoformat(),
            "submittedAtTimestamp": int(self.submitted_at),
            "releasedAtTimestamp": int(self.released_at),
            "releasedDate": _day(self.released_at).isoformat(),
            "versionStatus": self.version_status,
            "pipelineVersion": self.pipeline_version,
            **self.terms,
        }
        return {**facts, "versionComment": self.version_comment} if self.is_revocation else facts


def released_data(house: House, organism_name: str, shape: Shape | None = None) -> Iterator[dict[str, Any]]:
    """Every released version, by accession and version, as Loculus's get-released-data lines.

    `shape` names all segments and genes that the organism has: what an entry lacks of them is null.
    """
    organism = house.organism(organism_name)
    absent = _absent(organism, shape)
    categories = output_categories(organism)
    for each in released(house, organism_name):
        metadata = {**absent["metadata"], **(each.processed_data.get("metadata") or {}), **each.external_metadata}
        metadata |= each.facts() | _file_columns(house, categories, each)
        sequences = {
            key: {**nothing, **(each.processed_data.get(key) or {})}
            for key, nothing in absent.items()
            if key != "metadata"
        }
        yield {"metadata": metadata, **sequences}


def released(
    house: House, organism: str, *, only: ColumnElement[bool] | None = None, sequences: bool = True
) -> Iterator[Released]:
    """Every released version of the organism that is neither suppressed nor withdrawn, by accession and version.

    `only`: a condition on EntryVersion that narrows them. Without `sequences` the processed data hold
    metadata alone, which is less to read.
    """
    query = (
        select(*_COLUMNS)
        .join(Release, (col(Release.accession) == _NAME[0]) & (col(Release.version) == _NAME[1]))
        .where(col(EntryVersion.organism) == organism, is_listed(), *(() if only is None else (only,)))
        .order_by(*_NAME)
        .limit(PAGE)
    )
    last = ("", 0)
    while True:
        with house.sessions.read() as session:
            rows = session.execute(query.where(tuple_(*_NAME) > last)).all()
            if not rows:
                return
            page = list(
                _with_results(
                    house, session, house.organism(organism), [tuple(row) for row in rows], sequences=sequences
                )
            )
        yield from page
        last = (rows[-1][0], rows[-1][1])


def _with_results(
    house: House, session: Session, organism: Organism, rows: Sequence[tuple[Any, ...]], *, sequences: bool
) -> Iterator[Released]:
    names = [AccessionVersion(row[0], row[1]) for row in rows]
    current = current_results(session, names)
    ids = [current.get(name, row[-1]) for name, row in zip(names, rows, strict=True)]
    results = _results(session, ids, sequences=sequences)
    files = public_files(session, ids)
    accessions = sorted({name.accession for name in names})
    terms = terms_of_accessions(house, session, accessions)
    newest = _newest(session, accessions)
    groups = select(col(Group.id), col(Group.name)).where(col(Group.id).in_({row[4] for row in rows}))
    group_names = {row[0]: row[1] for row in session.execute(groups)}
    external = content_of(session, organism, names)
    for name, row, manifest_id in zip(names, rows, ids, strict=True):
        if name.accession not in newest:  # closed since the page was read
            continue
        _, _, submission_id, submitter, group_id, submitted_at, is_revocation, comment, released_at, _ = row
        pipeline_version, digest, processed_data = results[manifest_id]
        yield Released(
            name=name,
            submission_id=submission_id,
            submitter=submitter,
            group_id=group_id,
            group_name=group_names[group_id],
            submitted_at=submitted_at,
            is_revocation=is_revocation,
            version_comment=comment,
            released_at=released_at,
            version_status=_version_status(name.version, *newest[name.accession]),
            terms=terms.get(name.accession, {}),
            external_metadata=dict(external[name]),
            pipeline_version=pipeline_version,
            digest=digest,
            processed_data=processed_data,
            files=files.get(manifest_id, ()),
            manifest_id=manifest_id,
        )


def _results(session: Session, ids: Sequence[int], *, sequences: bool) -> dict[int, tuple[int, str, dict[str, Any]]]:
    """Pipeline version, digest and processed data of each manifest."""
    data = col(Manifest.processed_data)
    columns = (col(Manifest.id), col(Manifest.pipeline_version), col(Manifest.digest))
    query = select(*columns, data if sequences else data["metadata"]).where(col(Manifest.id).in_(ids))
    return {
        number: (pipeline_version, digest, found if sequences else {"metadata": found or {}})
        for number, pipeline_version, digest, found in session.execute(query)
    }


def current_results(session: Session, names: Sequence[AccessionVersion]) -> dict[AccessionVersion, int]:
    """The manifests that were published in place of the approved ones; at most a few hundred names at once."""
    key = (col(CurrentResult.accession), col(CurrentResult.version))
    newest = select(func.max(col(CurrentResult.id))).where(among(CurrentResult, names)).group_by(*key)
    rows = session.execute(select(*key, col(CurrentResult.manifest_id)).where(col(CurrentResult.id).in_(newest)))
    return {AccessionVersion(accession, version): manifest_id for accession, version, manifest_id in rows}


def terms_of_accessions(house: House, session: Session, accessions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The data use terms of each accession as they are today, in the words of the released metadata.

    A restriction lapses by its date, without a write. Empty where the instance has no terms.
    """
    if not house.settings.data_use_terms:
        return {}
    newest = select(func.max(col(DataUseTerms.id))).where(col(DataUseTerms.accession).in_(accessions))
    columns = (
        col(DataUseTerms.accession),
        col(DataUseTerms.terms_type),
        col(DataUseTerms.restricted_until),
        col(DataUseTerms.changed_at),
    )
    rows = select(*columns).where(col(DataUseTerms.id).in_(newest.group_by(columns[0])))
    today = _day(clock.read(session)).isoformat()
    return {accession: _terms(house, today, *terms) for accession, *terms in session.execute(rows)}


def _terms(house: House, today: str, terms_type: str, restricted_until: str | None, since: float) -> dict[str, Any]:
    until = restricted_until if terms_type == "RESTRICTED" else None
    is_restricted = until is not None and until > today
    urls = house.settings.data_use_terms_urls
    url = urls.restricted if is_restricted else urls.open
    return {
        "dataUseTerms": "RESTRICTED" if is_restricted else "OPEN",
        "dataUseTermsRestrictedUntil": until if is_restricted else None,
        "dataBecameOpenAt": None if is_restricted else until or _day(since).isoformat(),
        **({} if url is None else {"dataUseTermsUrl": url}),
    }


def _newest(session: Session, accessions: Sequence[str]) -> dict[str, tuple[int, int]]:
    """For each accession its newest released version, and its newest released revocation (0: none)."""
    rows = session.execute(
        select(*_NAME, col(EntryVersion.is_revocation))
        .where(_NAME[0].in_(accessions), col(EntryVersion.released), is_listed())
        .order_by(*_NAME)
    ).all()
    newest: dict[str, tuple[int, int]] = {}
    for accession, versions in groupby(rows, key=lambda row: row[0]):
        listed = list(versions)
        newest[accession] = (listed[-1][1], max((row[1] for row in listed if row[2]), default=0))
    return newest


def _version_status(version: int, latest: int, revocation: int) -> str:
    if version == latest:
        return "LATEST_VERSION"
    return "REVOKED" if version < revocation else "REVISED"


def _absent(organism: Organism, shape: Shape | None) -> dict[str, dict[str, Any]]:
    """What a line has where an entry has nothing: every field, segment and gene that is configured."""
    external = organism.pipeline.external
    names = [field.name for field in (*organism.metadata, *(external.metadata if external else ()))]
    names += () if external is not None and external.mode == "instead" else PROCESSED_FIELDS
    segments = [] if shape is None else sorted(shape.segments)
    genes = [] if shape is None else sorted(shape.genes)
    return {
        "metadata": dict.fromkeys(names),
        "unalignedNucleotideSequences": dict.fromkeys(segments),
        "alignedNucleotideSequences": dict.fromkeys(segments),
        "nucleotideInsertions": {segment: [] for segment in segments},
        "alignedAminoAcidSequences": dict.fromkeys(genes),
        "aminoAcidInsertions": {gene: [] for gene in genes},
    }


def _file_columns(house: House, categories: Sequence[str], each: Released) -> dict[str, Any]:
    """For each category that the pipeline may put out its files as a JSON string, or None: SILO reads metadata only."""
    columns: dict[str, Any] = dict.fromkeys(categories)
    for category, files in groupby(each.files, key=lambda file: file.category):
        listed = [{"fileId": file.file_id, "name": file.name, "url": _url(house, each, file)} for file in files]
        columns[category] = json.dumps(listed, ensure_ascii=False, separators=(",", ":"))
    return columns


def output_categories(organism: Organism) -> list[str]:
    """The file categories that released entries of an organism may have."""
    external = organism.pipeline.external
    ours = [] if external is not None and external.mode == "instead" else organism.pipeline.outputs
    return list(dict.fromkeys([*(str(each) for each in ours), *(external.files if external else ())]))


def _url(house: House, each: Released, file: PublicFile) -> str:
    base = house.settings.public_url
    if house.settings.released_file_urls == "stable":
        return stable_url(base, each.name, each.pipeline_version, file.category, file.name)
    return get_url(base, each.name, file.category, file.name)


def _day(moment: float) -> date:
    return datetime.fromtimestamp(moment, UTC).date()
