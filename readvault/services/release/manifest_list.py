"""All files of the released entries that match a question: what somebody downloads who wants many.

Only what is released can be asked for: a question about anything else would tell by its answer what
the group keeps for itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import batched
from typing import Any

from sqlmodel import col

from readvault.db.tables import EntryVersion
from readvault.domain import tsv
from readvault.domain.errors import BadRequest
from readvault.domain.organism import Organism
from readvault.domain.reads import PROCESSED_FIELDS
from readvault.services.house import House
from readvault.services.release.public_files import PublicFile
from readvault.services.release.public_originals import PUBLIC_IF_NO_HITS, PublicOriginal, public_originals
from readvault.services.release.released_data import Released, released

PAGE = 200
MAX_ACCESSIONS = 1000
"""In one question."""
OF_RELEASE = (
    "accession",
    "version",
    "accessionVersion",
    "submissionId",
    "isRevocation",
    "submitter",
    "groupId",
    "groupName",
    "submittedDate",
    "releasedDate",
    "versionStatus",
    "pipelineVersion",
    "dataUseTerms",
    "dataUseTermsRestrictedUntil",
    "versionComment",
)
COLUMNS = (
    "accession", "version", "accessionVersion", "pipelineVersion", "manifestDigest", "category", "name", "size",
    "sha256", "url", "dataUseTerms", "dataUseTermsRestrictedUntil", "dataUseTermsUrl",
)  # fmt: skip
"""Of the table with a line for each file."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which entries: each field has one of its `values`, and lies between `lowest` and `highest` (both included).

    Dates and texts are compared as texts, numbers as numbers. `categories`: only files of these.
    """

    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lowest: Mapping[str, str] = field(default_factory=dict)
    highest: Mapping[str, str] = field(default_factory=dict)
    categories: Sequence[str] = ()


def question(organism: Organism, asked: Mapping[str, Sequence[str]], categories: Sequence[str] = ()) -> Question:
    """The question that these parameters ask: a field, or a field followed by `From` or `To`.

    Raises BadRequest for what is no field of the released entries.
    """
    known = fields_of(organism)
    values: dict[str, Sequence[str]] = {}
    limits: dict[str, dict[str, str]] = {"From": {}, "To": {}}
    for name, given in asked.items():
        ending = next((each for each in limits if name.endswith(each) and name.removesuffix(each) in known), None)
        if name in known:
            values[name] = list(given)
        elif ending is not None:
            limits[ending][name.removesuffix(ending)] = given[-1]
        else:
            raise BadRequest(f"'{name}' is not a field of the released entries.")
    if len(values.get("accession", ())) > MAX_ACCESSIONS:
        raise BadRequest(f"One request may name {MAX_ACCESSIONS} accessions.")
    return Question(values, limits["From"], limits["To"], categories)


def fields_of(organism: Organism) -> frozenset[str]:
    """The metadata fields that released entries of an organism may have."""
    external = organism.pipeline.external
    declared = [each.name for each in (*organism.metadata, *(external.metadata if external else ()))]
    return frozenset([*OF_RELEASE, *PROCESSED_FIELDS, *declared, *(each.name for each in organism.external_metadata)])


def matching(house: House, organism: str, asked: Question) -> Iterator[dict[str, Any]]:
    """Each released entry that matches, by accession and version, with metadata, terms and files. Flat in memory."""
    accessions = asked.values.get("accession")
    only = None if accessions is None else col(EntryVersion.accession).in_(sorted(set(accessions)))
    for page in batched(released(house, organism, only=only, sequences=False), PAGE):
        originals = _originals(house, organism, page)
        for each in page:
            facts = each.facts()
            metadata = {**(each.processed_data.get("metadata") or {}), **each.external_metadata, **facts}
            if _holds(metadata, asked):
                files = [file for file in each.files if not asked.categories or file.category in asked.categories]
                opened = [
                    file
                    for file in originals.get(each.name, ())
                    if not asked.categories or file.category in asked.categories
                ]
                yield _entry(house, each, facts, metadata, files, opened)


def _originals(house: House, organism: str, page: Sequence[Released]) -> Mapping[Any, Sequence[PublicOriginal]]:
    if house.organism(organism).pipeline.dehumanize.originals.visibility != PUBLIC_IF_NO_HITS:
        return {}
    with house.sessions.read() as session:
        return public_originals(house, session, [each.name for each in page])


def as_json(entries: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """One JSON array, piece by piece."""
    before = b"["
    for entry in entries:
        yield before + json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        before = b","
    yield b"]" if before == b"," else b"[]"


def as_table(
    entries: Iterator[dict[str, Any]], fields: Sequence[str] = (), *, for_spreadsheets: bool = False
) -> Iterator[bytes]:
    """A tab-separated table with a line for each file; `fields` are columns of metadata besides.

    Exact for machines, unless it is for spreadsheets (`domain.tsv`).
    """
    extra = [name for name in fields if name not in COLUMNS]
    rows = (
        {**dict.fromkeys(COLUMNS), **{name: entry["metadata"].get(name) for name in extra}, **entry, **file}
        for entry in entries
        for file in entry["files"]
    )
    for line in tsv.lines([*COLUMNS, *extra], rows, for_spreadsheets=for_spreadsheets):
        yield line.encode()


def check_fields(organism: Organism, names: Sequence[str]) -> None:
    """Raise BadRequest for a name that is no field of the released entries."""
    known = fields_of(organism)
    if unknown := [name for name in names if name not in known]:
        raise BadRequest(f"'{unknown[0]}' is not a field of the released entries.")


def _entry(
    house: House,
    each: Released,
    facts: Mapping[str, Any],
    metadata: dict[str, Any],
    files: Sequence[PublicFile],
    originals: Sequence[PublicOriginal],
) -> dict[str, Any]:
    return {
        "accession": each.name.accession,
        "version": each.name.version,
        "accessionVersion": str(each.name),
        "versionStatus": each.version_status,
        "pipelineVersion": each.pipeline_version,
        "manifestDigest": each.digest,
        **{name: value for name, value in facts.items() if name.startswith("dataUseTerms")},
        "metadata": metadata,
        "files": [
            *(file.as_json(house.settings.public_url, each.name, each.pipeline_version) for file in files),
            *(file.as_json(house.settings.public_url, each.name) for file in originals),
        ],
    }


def _holds(metadata: Mapping[str, Any], asked: Question) -> bool:
    return (
        all(_text(metadata.get(name)) in wanted for name, wanted in asked.values.items())
        and all(_compare(metadata.get(name), limit) in (0, 1) for name, limit in asked.lowest.items())
        and all(_compare(metadata.get(name), limit) in (-1, 0) for name, limit in asked.highest.items())
    )


def _compare(value: Any, limit: str) -> int | None:
    """-1, 0 or 1 as the value is less, equal or more; None when they can't be compared."""
    other: Any = limit
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        try:
            other = float(limit)
        except ValueError:
            return None
    elif not isinstance(value, str):
        return None
    return int(value > other) - int(value < other)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
