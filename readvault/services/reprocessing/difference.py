"""A compared result beside the one that it wants to replace, with all that differs: what a maintainer decides by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from readvault.db.erased import refuse_erased
from readvault.db.tables import ComparedResult, EntryVersion, Manifest, ManifestFile, StoredObject
from readvault.domain import result_difference, variant_difference
from readvault.domain.actor import Actor
from readvault.domain.errors import Conflict, NotFound, ProcessingFailure, RuleViolation
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reads import PROCESSED_FIELDS, ProcessedCategory
from readvault.domain.reprocessing import TAKEN
from readvault.domain.result_difference import MOST_SEGMENTS, ResultDifference
from readvault.domain.variant_difference import Called, Key
from readvault.ports import StoredVersion
from readvault.services.authorization import Action, authorize
from readvault.services.entries import reading
from readvault.services.house import House

MOST_BYTES_OF_CONSENSUS = 8 * 10**6
MOST_BYTES_OF_VARIANTS = 8 * 10**6
MOST_BYTES_UNPACKED = 32 * 10**6
"""What is larger is not compared here; it can still be downloaded."""
NOT_FOUND = "There is no such compared result."
_FOR_THE_GROUP = "it is for the group only."
_FIGURES = tuple(name for name in PROCESSED_FIELDS if name != "qualityControlDetails")


@dataclass(frozen=True, slots=True)
class ResultFacts:
    """One of the two results. `created_at` is seconds since 1970."""

    pipeline_version: int
    digest: str
    processing_result: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Compared:
    """A compared result: what the rule found, what became of it, and all that differs. Moments are seconds since 1970.

    `old` stood for the entry when the comparison was made. `findings` are `domain.comparison.Finding` as JSON.
    """

    id: int
    name: AccessionVersion
    organism: str
    reprocessing_id: int | None
    state: str
    findings: tuple[dict[str, Any], ...]
    compared_at: float
    decided_by: str | None
    decided_at: float | None
    reason: str | None
    old: ResultFacts
    new: ResultFacts
    difference: ResultDifference


@dataclass(frozen=True, slots=True)
class _File:
    stored: StoredVersion
    sha256: str
    may_be_read: bool


@dataclass(frozen=True, slots=True)
class _Result:
    manifest: Manifest
    files: dict[tuple[str, str], _File]

    def one(self, category: ProcessedCategory, ending: str) -> _File | None:
        """The first file of a category whose name ends so; a VCF's index is of its category too."""
        return next(
            (file for (of, name), file in sorted(self.files.items()) if of == category and name.endswith(ending)), None
        )


def difference(house: House, actor: Actor | None, compared_id: int) -> Compared:
    """A compared result with all that differs; its consensus and variants are read from the store and verified.

    A file that is damaged, gone, too large, out of reach or not to be read leaves that part out, with a
    sentence that says so. For maintainers: raises Forbidden for others, NotFound, Gone for an erased entry.
    """
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        row = session.get(ComparedResult, compared_id)
        if row is None:
            raise NotFound(NOT_FOUND)
        name = AccessionVersion(row.accession, row.version)
        refuse_erased(session, name)
        entry = session.get_one(EntryVersion, (row.accession, row.version))
        old, new = _result(session, row.compared_manifest_id), _result(session, row.manifest_id)
    return Compared(
        id=compared_id,
        name=name,
        organism=entry.organism,
        reprocessing_id=row.reprocessing_id,
        state=row.state,
        findings=tuple(row.findings),
        compared_at=row.compared_at,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
        reason=row.reason,
        old=_facts(old.manifest),
        new=_facts(new.manifest),
        difference=_difference(house, old, new),
    )


def replaced_by(house: House, actor: Actor | None, compared_id: int) -> tuple[AccessionVersion, int]:
    """The entry of a result that took an older one's place, and the older one's pipeline version.

    For maintainers: raises Forbidden for others, NotFound, and Conflict for a result that did not.
    """
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        row = session.get(ComparedResult, compared_id)
        if row is None:
            raise NotFound(NOT_FOUND)
        if row.state not in TAKEN:
            raise Conflict(f"This result did not take the older one's place: it is {row.state}.")
        older = session.get_one(Manifest, row.compared_manifest_id)
        return AccessionVersion(row.accession, row.version), older.pipeline_version


def _result(session: Session, manifest_id: int) -> _Result:
    manifest = session.get_one(Manifest, manifest_id)
    rows = session.exec(
        select(ManifestFile, StoredObject)
        .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
        .where(ManifestFile.manifest_id == manifest_id)
    )
    return _Result(
        manifest,
        {
            (file.category, file.name): _File(
                StoredVersion(stored.key, stored.version_id, stored.size), stored.sha256, file.may_be_public
            )
            for file, stored in rows
        },
    )


def _facts(manifest: Manifest) -> ResultFacts:
    return ResultFacts(manifest.pipeline_version, manifest.digest, manifest.processing_result, manifest.created_at)


def _difference(house: House, old: _Result, new: _Result) -> ResultDifference:
    before, after = old.manifest, new.manifest
    texts, problem = _both(old, new, ProcessedCategory.CONSENSUS, ".fasta", lambda file: _fasta(house, file))
    segments = None
    if texts is not None:
        segments = result_difference.compare_sequences(
            result_difference.sequences(before.processed_data, texts[0]),
            result_difference.sequences(after.processed_data, texts[1]),
        )
    called, variants_problem = _both(old, new, ProcessedCategory.VARIANTS, ".vcf.gz", lambda file: _vcf(house, file))
    variants = None
    if called is not None and called != (None, None):
        variants = variant_difference.compare(called[0] or {}, called[1] or {})
    return ResultDifference(
        segments=None if segments is None else segments[:MOST_SEGMENTS],
        segments_problem=problem,
        segments_left_out=max(0, len(segments or ()) - MOST_SEGMENTS),
        variants=variants,
        variants_problem=variants_problem,
        figures=result_difference.compare_figures(_metadata(before), _metadata(after), _FIGURES),
        errors=result_difference.compare_messages(before.errors, after.errors),
        warnings=result_difference.compare_messages(before.warnings, after.warnings),
        files=result_difference.compare_files(_sizes(old), _sizes(new)),
    )


def _both[T](
    old: _Result, new: _Result, category: ProcessedCategory, ending: str, read: Callable[[_File], T]
) -> tuple[tuple[T | None, T | None] | None, str | None]:
    """What both results have in a category (None: nothing), or why one of them can't be read."""
    found: list[T | None] = []
    for result, which in ((old, "older"), (new, "newer")):
        file = result.one(category, ending)
        try:
            found.append(None if file is None else read(file))
        except ProcessingFailure:
            return None, f"The {category} file of the {which} result can't be read now: the storage is out of reach."
        except (RuleViolation, ValueError) as fault:
            return None, f"The {category} file of the {which} result can't be compared: {fault}"
    return (found[0], found[1]), None


def _fasta(house: House, file: _File) -> str:
    return _bytes(house, file, MOST_BYTES_OF_CONSENSUS).decode("ascii", "replace")


def _vcf(house: House, file: _File) -> dict[Key, Called]:
    text = reading.unpacked(_bytes(house, file, MOST_BYTES_OF_VARIANTS), most=MOST_BYTES_UNPACKED)
    return variant_difference.parse(text.decode("ascii", "replace").splitlines())


def _bytes(house: House, file: _File, most: int) -> bytes:
    if not file.may_be_read:
        raise ValueError(_FOR_THE_GROUP)
    return reading.bytes_of(house, file.stored, file.sha256, most=most)


def _metadata(manifest: Manifest) -> dict[str, Any]:
    return dict(manifest.processed_data.get("metadata") or {})


def _sizes(result: _Result) -> dict[tuple[str, str], tuple[int, str]]:
    return {place: (file.stored.size, file.sha256) for place, file in result.files.items()}
