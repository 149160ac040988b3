"""A job of the database: which of its files the steps get to see."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from readvault.domain.organism import FileCategory, Submission
from readvault.reads.sample import Sample
from readvault.server_job import ServerJob
from readvault.services.house import House
from readvault.services.lease import Lease
from tests.integration.services.scenes import ORGANISM, claimed, entry, group


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
