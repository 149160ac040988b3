"""External pipelines in tests: an organism that has one, what it asks, what it sends."""

from __future__ import annotations

from typing import Any

from sqlmodel import col, select

from readvault.db.tables import EntryVersion, Job, ManifestFile
from readvault.domain.annotations import Annotation, Field, FieldType, Reason
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import External, MetadataField, MetadataType, Organism, OutputCategory, Reference
from readvault.domain.processed_data import Shape
from readvault.domain.status import JobKind
from readvault.services.house import House
from readvault.services.processing import external_claims, external_results, external_work
from readvault.services.processing.external_files import SentFile
from readvault.services.processing.external_known import Sent
from readvault.services.review import review
from tests.houses import ALICE, PIPELINE
from tests.integration.services.scenes import ORGANISM

SEQUENCE = "ACGTACGTACGTACGTACGT"
SHAPE = Shape({"main": frozenset({20})}, {"S": frozenset({4, 5})})
FAULT = Annotation(
    Reason.EXTERNAL_PIPELINE, "The frame is shifted.", (Field(FieldType.METADATA, "date"),),
    processed_fields=(Field(FieldType.NUCLEOTIDE_SEQUENCE, "main"),),
)  # fmt: skip


def attach(house: House, mode: str = "instead", **changes: Any) -> Organism:
    """Give the house's organism an external pipeline; the organism as it is then."""
    fields: dict[str, Any] = {
        "mode": mode,
        "files": {"annotations": OutputCategory(may_contain_reads=False), "leftovers": OutputCategory()},
        "metadata": (MetadataField(name="clade"), MetadataField(name="snps", type=MetadataType.INT)),
    }
    old = house.organisms[ORGANISM]
    external = External(**(fields | changes))
    new = old.model_copy(update={"pipeline": old.pipeline.model_copy(update={"external": external})})
    house.organisms[ORGANISM] = new  # type: ignore[index]
    return new


def with_genes(organism: Organism, gff3: str) -> Organism:
    """The same organism, whose reference has genes."""
    assert organism.reference is not None
    path = organism.reference.fasta.with_suffix(".gff3")
    path.write_text(gff3)
    return organism.model_copy(update={"reference": Reference(fasta=organism.reference.fasta, genes=path)})


def received(house: House, group_id: int, name: str, **changes: Any) -> AccessionVersion:
    """An entry as submit leaves it where an external pipeline stands instead of readvault's steps."""
    from readvault.services.queue.new_jobs import job_rows
    from tests.integration.services import scenes

    version, job_id = scenes.entry(house, group_id, accession=name, **changes)
    with house.sessions.begin() as session:
        session.delete(session.get_one(Job, job_id))
        session.flush()
        entry = session.get_one(EntryVersion, (version.accession, version.version))
        rows = job_rows(house.organism(entry.organism), [entry.model_dump()], entry.submitted_at)
        session.add_all(Job(**row) for row in rows)
    return version


def ask(house: House, count: int = 100, version: int = 1, etag: str | None = None) -> list[dict[str, Any]]:
    """What a pipeline is given."""
    claimed = external_claims.claim(
        house, PIPELINE, ORGANISM, count=count, pipeline_version=version, if_none_match=etag
    )
    return list(external_work.lines(house, house.organism(ORGANISM), claimed.names, version))


def names_of(lines: list[dict[str, Any]]) -> list[AccessionVersion]:
    """Which accession versions lines are about."""
    return [AccessionVersion(line["accession"], line["version"]) for line in lines]


def sent(
    name: AccessionVersion,
    *,
    metadata: dict[str, Any] | None = None,
    errors: tuple[Annotation, ...] = (),
    warnings: tuple[Annotation, ...] = (),
    files: tuple[tuple[str, str, str], ...] = (),
    **data: Any,
) -> Sent:
    """What a pipeline sends of an accession version; `files` are (category, name, file ID)."""
    whole = {
        "metadata": {"date": "2020-01-01", "clade": "20A", "snps": 3} if metadata is None else metadata,
        "unalignedNucleotideSequences": {"main": "ACGT"},
        "alignedNucleotideSequences": {"main": SEQUENCE},
        "nucleotideInsertions": {"main": ["5:AC"]},
        "alignedAminoAcidSequences": {},
        "aminoAcidInsertions": {},
    }
    return Sent(name, whole | data, errors, warnings, tuple(SentFile(*file) for file in files))


def answer(house: House, *results: Sent, version: int = 1, shape: Shape = SHAPE) -> None:
    """Send results."""
    external_results.submit(house, PIPELINE, ORGANISM, shape, results, pipeline_version=version)


def look(house: House, name: AccessionVersion) -> dict[str, Any]:
    """What the submitter sees in review."""
    return review.overview(house, ALICE, ORGANISM, name)


def external_jobs(house: House, name: AccessionVersion, kind: JobKind = JobKind.EXTERNAL_PROCESSING) -> list[Job]:
    """The jobs of an accession version of one kind, oldest first."""
    with house.sessions.read() as session:
        query = select(Job).where(Job.accession == name.accession, Job.version == name.version, Job.kind == kind.value)
        return list(session.exec(query.order_by(col(Job.created_at))))


def public_files(house: House, manifest_id: int) -> dict[str, bool]:
    """Whether the files of a manifest may be public, by category."""
    with house.sessions.read() as session:
        rows = session.exec(select(ManifestFile).where(ManifestFile.manifest_id == manifest_id))
        return {row.category: row.may_be_public for row in rows}
