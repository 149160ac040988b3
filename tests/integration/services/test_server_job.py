"""A job of the database: which of its files the steps get to see."""

from __future__ import annotations

import json
import random
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlmodel import select

from readvault.db.tables import EntryFile, UploadedFile
from readvault.domain.annotations import Annotation, Reason
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import FileCategory, SampleType, Submission
from readvault.domain.reads import LibraryLayout, Platform
from readvault.domain.reports import CheckReport
from readvault.reads.local_result import LocalResult
from readvault.reads.sample import Declared, Sample
from readvault.services.house import House
from readvault.services.queue.lease import Lease
from readvault.worker.server_job import ServerJob
from tests.integration.services.scenes import ORGANISM, claimed, entry, group, manifests


def _samples(house: House, directory: Path, **files: FileCategory) -> tuple[ServerJob, list[Sample]]:
    """A fetched job with one file of category `rawReads`, and what was given to its child."""
    rules = house.organisms[ORGANISM].model_copy(update={"submission": Submission(files=files)})
    house = replace(house, organisms={ORGANISM: rules})
    claim = claimed(house, entry(house, group(house, "alice"))[1])
    given: list[Sample] = []

    def child(sample: Sample) -> AbstractContextManager[Any]:
        given.append(sample)
        return nullcontext()

    job = ServerJob(house, claim, Lease(house, claim), directory, child)
    assert job.fetch().files == 1
    job.hands()
    return job, given


def test_the_steps_see_files_that_may_hold_reads(house: House, tmp_path: Path) -> None:
    job, [sample] = _samples(house, tmp_path, rawReads=FileCategory())
    assert job.has_reads
    assert [file.path.read_bytes() for file in sample.inputs] == [b"reads"]


def test_no_step_sees_files_of_a_category_without_reads(house: House, tmp_path: Path) -> None:
    job, [sample] = _samples(house, tmp_path, rawReads=FileCategory(may_contain_reads=False))
    assert not job.has_reads
    assert sample.inputs == ()


def test_a_swap_and_a_file_sent_twice_are_registered_with_the_entry(house: House, tmp_path: Path) -> None:
    mine = group(house, "alice")
    ours, theirs = ("".join(random.Random(seed).choices("ACGT", k=500)) for seed in (1, 2))
    neighbour, _ = entry(house, mine, submitted_at=1e9, submitted_sequences={"b": theirs})
    name, job_id = entry(house, mine, submitted_at=1e9, submitted_sequences={"a": ours})
    claim = claimed(house, job_id)
    job = ServerJob(house, claim, Lease(house, claim), tmp_path, lambda sample: nullcontext())
    job.fetch()
    _fetched(house, neighbour)
    disagrees = Annotation(Reason.CONSENSUS_DISAGREES, "These are not the reads of this sequence.")
    result = LocalResult(
        reports={"check": CheckReport((), {"primerScheme": None}, errors=(disagrees,))},
        outputs=(),
        screened=True,
        consensus_source="submitted",
        sequences={"main": ours},
        called_sequences={"main": theirs},
        aligned_sequences={},
        insertions={},
        aligned_amino_acid_sequences={},
        amino_acid_insertions={},
        provenance={},
    )
    assert job.register(result, ()).processing_result == "HAS_ERRORS"
    [manifest] = manifests(house, name)
    [error], [warning] = manifest.errors, manifest.warnings
    assert f"They fit the sequence of {neighbour} (sample-{neighbour})" in error["message"]
    assert warning["message"] == f"The entry {neighbour.accession} has the same file."
    assert "reads_0.fastq" not in manifest.body


def test_what_the_metadata_say_stays_where_the_steps_found_nothing(house: House, tmp_path: Path) -> None:
    said = {"platform": "ILLUMINA", "country": "Benin", "reference": ""}
    name, job_id = entry(house, group(house, "alice"), submitted_metadata=said)
    claim = claimed(house, job_id)
    job = ServerJob(house, claim, Lease(house, claim), tmp_path, lambda sample: nullcontext())
    job.fetch()
    found = {"platform": None, "totalReads": None, "reference": "v"}
    nothing = {"aligned_sequences": {}, "insertions": {}, "called_sequences": {}, "provenance": {}}
    genes: dict[str, Any] = {"aligned_amino_acid_sequences": {}, "amino_acid_insertions": {}}
    check = {"check": CheckReport((), found)}
    job.register(LocalResult(check, (), True, None, sequences={}, **nothing, **genes), ())
    [manifest] = manifests(house, name)
    merged = json.loads(manifest.body)["metadata"]
    assert merged == {"platform": "ILLUMINA", "country": "Benin", "reference": "v", "totalReads": None}


def _fetched(house: House, name: AccessionVersion) -> None:
    """The entry's files have the SHA-256 that was declared for them."""
    with house.sessions.begin() as session:
        files = session.exec(select(EntryFile.file_id).where(EntryFile.accession == name.accession)).all()
        for file_id in files:
            uploaded = session.get_one(UploadedFile, file_id)
            uploaded.sha256 = uploaded.declared_sha256


def test_what_the_metadata_say_of_a_sample_reaches_its_steps(house: House, tmp_path: Path) -> None:
    said = {"platform": "illumina", "libraryLayout": "PAIRED", "primerScheme": "ARTIC V3", "sampleType": "Wastewater"}
    claim = claimed(house, entry(house, group(house, "alice"), submitted_metadata=said)[1])
    given: list[Sample] = []

    def child(sample: Sample) -> AbstractContextManager[Any]:
        given.append(sample)
        return nullcontext()

    job = ServerJob(house, claim, Lease(house, claim), tmp_path, child)
    job.fetch()
    job.hands()
    assert given[0].platform is Platform.ILLUMINA
    assert given[0].declared == Declared(LibraryLayout.PAIRED, "ARTIC V3", None, SampleType.WASTEWATER)
    assert given[0].sample_type is SampleType.WASTEWATER
