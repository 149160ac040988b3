"""What follows an approval: locks, the record, the public lines. Doing it twice changes nothing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import select

from readvault.db.tables import Job
from readvault.domain.errors import LeaseLost, ProcessingFailure
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Dehumanize, Originals, Pipeline
from readvault.domain.status import JobKind, JobState
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.processing.jobs import Claim
from readvault.services.release import publication
from readvault.services.release import released_data as listing
from readvault.services.release.released_data import released_data
from readvault.services.review.approval import Scope, approve
from tests.fakes import MemoryStore
from tests.houses import ALICE, organism
from tests.integration.services.scenes import ORGANISM, change, claimed, group, job, manifests, processed

TEN_YEARS = 10 * 365 * 86400


def _approved(house: House, **changes: Any) -> tuple[AccessionVersion, Claim]:
    """A released entry and the claim of its release job."""
    name, _ = processed(house, changes.pop("group_id", None) or group(house, "alice"), **changes)
    assert approve(house, ALICE, ORGANISM, scope=Scope.ALL) == [name]
    with house.sessions.read() as session:
        query = select(Job.id).where(Job.kind == JobKind.RELEASE.value, Job.accession == name.accession)
        job_id = session.exec(query.where(Job.version == name.version)).one()
    return name, claimed(house, job_id)


def test_released_files_and_their_originals_are_locked_for_ten_years(house: House, store: MemoryStore) -> None:
    _, claim = _approved(house, reads=b"screened reads")
    assert publication.publish(house, claim) == 2
    keys = {key.partition("/")[0] for key, _ in store.locked}
    assert (len(store.locked), keys) == (4, {"vault", "incoming", "records"})
    released_at = job(house, claim.job_id).created_at
    assert all(TEN_YEARS < until - released_at < TEN_YEARS + 4 * 86400 for until in store.locked.values())
    assert job(house, claim.job_id).state == "done"


def test_originals_that_will_be_shredded_are_not_locked(house: House, store: MemoryStore, tmp_path: Any) -> None:
    shreds = Pipeline(dehumanize=Dehumanize(originals=Originals(shred_after_days=30)))
    shredding = replace(house, organisms={ORGANISM: organism(tmp_path, pipeline=shreds)})
    _, claim = _approved(house)
    publication.publish(shredding, claim)
    assert [key.partition("/")[0] for key, _ in store.locked] == ["vault", "records"]


def test_the_documents_of_a_release_are_locked_like_its_files(house: House, store: MemoryStore) -> None:
    name, claim = _approved(house)
    digest = manifests(house, name)[0].digest
    store.write(f"manifests/{name.accession}/{name.version}/{digest}.json", b"{}")
    store.write(f"manifests/{name.accession}/{name.version}/{digest}.private.json", b"{}")
    publication.publish(house, claim)
    documents = {key.rpartition("/")[2] for key, _ in store.locked if key.startswith(("records/", "manifests/"))}
    assert documents == {"release.json", f"{digest}.json"}


def test_the_record_holds_what_the_database_can_be_rebuilt_from(house: House, store: MemoryStore) -> None:
    name, claim = _approved(house)
    publication.publish(house, claim)
    key = f"records/{name.accession}/{name.version}/release.json"
    ((_, content),) = store.versions[key]
    record = json.loads(content)
    body = json.dumps(record["manifest"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(body.encode()).hexdigest() == record["manifestDigest"]
    assert (record["groupId"], record["submitter"], record["approver"]) == (1, "alice", "alice")
    assert record["dataUseTerms"] == {"type": "OPEN"}
    (file,), (original,) = record["files"], record["originals"]
    for each, data in ((file, b">main\nACGT\n"), (original, b"reads")):
        ((version_id, stored),) = store.versions[each["key"]]
        assert (version_id, stored, len(stored)) == (each["versionId"], data, each["size"])


def test_publishing_again_changes_nothing(house: House, store: MemoryStore) -> None:
    _, claim = _approved(house)
    publication.publish(house, claim)
    before = {key: list(versions) for key, versions in store.versions.items()}
    change(house, claim.job_id, state=JobState.QUEUED.value)
    assert publication.publish(house, claimed(house, claim.job_id)) == 1
    assert store.versions == before


def test_a_missing_or_other_object_stops_the_release_before_anything_is_locked(
    house: House, store: MemoryStore
) -> None:
    _, claim = _approved(house)
    key = next(key for key in store.versions if key.startswith("vault/"))
    ((version_id, content),) = store.versions[key]
    for damaged in ([], [("other version", content)], [(version_id, content + b"!")]):
        store.versions[key] = damaged
        with pytest.raises(ProcessingFailure, match="stored bytes are damaged"):
            publication.publish(house, claim)
    assert store.locked == {}
    assert job(house, claim.job_id).state == "running"
    store.versions[key] = [(version_id, content), ("newer", b"overwritten")]
    assert publication.publish(house, claim) == 1
    assert (key, version_id) in store.locked


def test_a_store_that_is_down_is_our_failure(house: House, store: MemoryStore) -> None:
    _, claim = _approved(house)
    store.down = True
    with pytest.raises(ProcessingFailure):
        publication.publish(house, claim)
    assert job(house, claim.job_id).state == "running"


def test_a_stale_release_does_not_end_the_job(house: House) -> None:
    _, claim = _approved(house)
    jobs.give_up(house, claim, "drained", counted=False)
    with pytest.raises(LeaseLost):
        publication.publish(house, claim)
    assert job(house, claim.job_id).state == "queued"


def test_released_data_are_lines_in_loculuss_shape(house: House) -> None:
    name, claim = _approved(house, reads=b"screened reads", submission_id="sample 1")
    (line,) = released_data(house, ORGANISM)
    metadata = line.pop("metadata")
    assert line == {
        "unalignedNucleotideSequences": {"main": "ACGT"},
        "alignedNucleotideSequences": {},
        "nucleotideInsertions": {},
        "alignedAminoAcidSequences": {},
        "aminoAcidInsertions": {},
    }
    assert metadata["date"] == "2020-01-01"
    assert metadata["accessionVersion"] == str(name)
    assert (metadata["submissionId"], metadata["groupName"], metadata["submitter"]) == ("sample 1", "Group", "alice")
    assert (metadata["versionStatus"], metadata["isRevocation"]) == ("LATEST_VERSION", False)
    assert metadata["releasedAtTimestamp"] == int(job(house, claim.job_id).created_at)
    (reads,) = json.loads(metadata["dehumanizedReads"])
    assert reads["name"] == "dehumanized.fastq.gz"
    assert reads["url"].endswith(f"/files/get/{name.accession}/1/dehumanizedReads/dehumanized.fastq.gz")
    assert metadata["alignment"] is None
    assert "rawReads" not in metadata


def test_only_released_versions_are_listed_all_of_them_in_order(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE", 2)
    group_id = group(house, "alice")
    names = [
        _approved(house, group_id=group_id, files=(), accession=accession, version=version)[0]
        for accession, version in (("LOC_B", 1), ("LOC_A", 1), ("LOC_A", 2), ("LOC_B", 10), ("LOC_B", 2))
    ]
    processed(house, group_id)
    lines = [line["metadata"] for line in released_data(house, ORGANISM)]
    assert [line["accessionVersion"] for line in lines] == [str(name) for name in sorted(names)]
    statuses = {line["accessionVersion"]: line["versionStatus"] for line in lines}
    assert statuses == {
        "LOC_A.1": "REVISED",
        "LOC_A.2": "LATEST_VERSION",
        "LOC_B.1": "REVISED",
        "LOC_B.2": "REVISED",
        "LOC_B.10": "LATEST_VERSION",
    }


def test_terms_lapse_by_their_date(house: House) -> None:
    settings = house.settings.model_copy(update={"data_use_terms": True})
    with_terms = replace(house, settings=settings)
    group_id = group(house, "alice")
    _approved(house, group_id=group_id, terms_type="RESTRICTED", restricted_until="2020-01-01", accession="LOC_A")
    _approved(house, group_id=group_id, terms_type="RESTRICTED", restricted_until="9999-01-01", accession="LOC_B")
    lapsed, restricted = (line["metadata"] for line in released_data(with_terms, ORGANISM))
    assert (lapsed["dataUseTerms"], lapsed["dataUseTermsRestrictedUntil"]) == ("OPEN", None)
    assert lapsed["dataBecameOpenAt"] == "2020-01-01"
    assert (restricted["dataUseTerms"], restricted["dataUseTermsRestrictedUntil"]) == ("RESTRICTED", "9999-01-01")
    assert "dataUseTerms" not in next(released_data(house, ORGANISM))["metadata"]
