"""External pipelines instead of readvault's steps: who gets what to do, and what becomes of the answer."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import select

from readvault.db.tables import FileAccess, PartialResult, StoredObject, UploadedFile
from readvault.domain.errors import BadRequest, Conflict, Forbidden, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import OutputCategory
from readvault.domain.status import JobKind, JobState
from readvault.services import housekeeping
from readvault.services.house import House
from readvault.services.processing import external_claims, jobs, reprocessing
from readvault.services.processing.external_registration import register_external
from readvault.services.queue import deliveries
from readvault.services.queue.lease import Lease
from readvault.services.queue.new_jobs import call_off
from tests.houses import ALICE, BOB, MAINTAINER, PIPELINE, group_of, upload
from tests.integration.services import pipeline_scenes as scene
from tests.integration.services.scenes import ORGANISM, READY, audit_log, change, job, let_lease_run_out, manifests


@pytest.fixture
def group_id(house: House) -> int:
    scene.attach(house)
    return group_of(house, ALICE)


@pytest.fixture
def entry(house: House, group_id: int) -> AccessionVersion:
    """An entry without files, whose claim a pipeline holds."""
    name = scene.received(house, group_id, "LOC_000001Y", files=())
    assert scene.names_of(scene.ask(house)) == [name]
    return name


def status(house: House, name: AccessionVersion) -> str:
    return str(scene.look(house, name)["status"])


# Claims


def test_each_entry_is_given_once_in_order_with_all_that_was_submitted(house: House, group_id: int) -> None:
    names = [
        scene.received(house, group_id, f"LOC_{n}", submitted_sequences={"seq": "ACGT"}, submission_id=f"sample {n}")
        for n in (3, 1, 2)
    ]
    first = scene.ask(house, 2)
    assert [line["accession"] for line in first] == ["LOC_1", "LOC_2"]
    assert [line["accession"] for line in scene.ask(house, 5)] == ["LOC_3"]
    assert scene.ask(house, 5) == []
    line = first[0]
    files = line["data"].pop("files")
    assert line.pop("submittedAt") > 1_700_000_000
    assert line == {
        "accession": "LOC_1", "version": 1, "submissionId": "sample 1", "submitter": "alice", "groupId": group_id,
        "data": {"metadata": {"date": "2020-01-01"}, "unalignedNucleotideSequences": {"seq": "ACGT"}},
    }  # fmt: skip
    (file,) = files["rawReads"]
    assert (file["name"], file["url"].partition(":")[0]) == ("reads_0.fastq", "memory")
    assert {status(house, name) for name in names} == {"IN_PROCESSING"}


def test_an_entry_without_files_has_null_for_them(house: House, group_id: int) -> None:
    scene.received(house, group_id, "LOC_1", files=())
    assert scene.ask(house)[0]["data"]["files"] is None


def test_workers_leave_such_jobs_alone(house: House, group_id: int, orchestrator: Any) -> None:
    name = scene.received(house, group_id, "LOC_1")
    assert deliveries.dispatch(house, READY) == 0
    assert orchestrator.deliveries == []
    assert jobs.claim(house, scene.external_jobs(house, name)[0].id, "worker", READY) is None
    assert status(house, name) == "RECEIVED"


@pytest.mark.parametrize("actor", [ALICE, BOB])
def test_only_pipelines_and_maintainers_may(house: House, group_id: int, actor: Any) -> None:
    with pytest.raises(Forbidden):
        external_claims.claim(house, actor, ORGANISM, count=1, pipeline_version=1)
    with pytest.raises(Forbidden):
        external_results_of(house, actor)
    assert external_claims.claim(house, MAINTAINER, ORGANISM, count=1, pipeline_version=1).names == ()


def external_results_of(house: House, actor: Any) -> None:
    from readvault.services.processing import external_results

    external_results.submit(house, actor, ORGANISM, scene.SHAPE, [], pipeline_version=1)


def test_too_many_at_once_and_an_organism_without_external_pipeline(house: House, group_id: int) -> None:
    with pytest.raises(BadRequest, match="You can extract at max 100000 sequence entries at once"):
        external_claims.claim(house, PIPELINE, ORGANISM, count=100_001, pipeline_version=1)
    with pytest.raises(BadRequest, match="Invalid organism: no-such-virus"):
        external_claims.claim(house, PIPELINE, "no-such-virus", count=1, pipeline_version=1)
    old = house.organisms[ORGANISM]
    house.organisms[ORGANISM] = old.model_copy(  # type: ignore[index]
        update={"pipeline": old.pipeline.model_copy(update={"external": None})}
    )
    with pytest.raises(Unprocessable, match="No external pipeline"):
        external_claims.claim(house, PIPELINE, ORGANISM, count=1, pipeline_version=1)


def test_the_etag_changes_with_claims_results_and_submissions(house: House, group_id: int) -> None:
    def claim(etag: str | None = None) -> external_claims.Claimed:
        return external_claims.claim(house, PIPELINE, ORGANISM, count=9, pipeline_version=1, if_none_match=etag)

    scene.received(house, group_id, "LOC_1", files=())
    first = claim()
    assert len(first.names) == 1
    second = claim(first.etag)
    assert (second.names, second.unchanged) == ((), False)  # that it was claimed is news
    assert claim(second.etag).unchanged
    scene.answer(house, scene.sent(first.names[0]))
    after_result = claim(second.etag)
    assert not after_result.unchanged
    assert claim(f'"other", {after_result.etag}').unchanged
    scene.received(house, group_id, "LOC_2", files=())
    third = claim(after_result.etag)
    assert (len(third.names), third.unchanged) == (1, False)


def test_a_claim_that_runs_out_is_given_again_until_it_needs_attention(house: House, entry: AccessionVersion) -> None:
    job_id = scene.external_jobs(house, entry)[0].id
    assert scene.ask(house) == []
    for _ in range(house.settings.worker.max_handbacks):
        let_lease_run_out(house, job_id)
        assert scene.names_of(scene.ask(house)) == [entry]
    let_lease_run_out(house, job_id)
    assert scene.ask(house) == []
    row = job(house, job_id)
    assert (row.state, row.runs_alone) == (JobState.NEEDS_ATTENTION.value, False)
    assert row.last_error == "its external pipeline did not answer in time"
    jobs.retry(house, MAINTAINER, job_id)
    assert scene.names_of(scene.ask(house)) == [entry]


def test_a_claim_lasts_as_long_as_the_organism_says(house: House, group_id: int) -> None:
    scene.attach(house, timeout=5000)
    name = scene.received(house, group_id, "LOC_1", files=())
    scene.ask(house)
    row = scene.external_jobs(house, name)[0]
    assert row.lease_until is not None
    assert 4900 < row.lease_until - row.created_at < 5100


def test_the_reaper_takes_claims_back_too(house: House, entry: AccessionVersion) -> None:
    let_lease_run_out(house, scene.external_jobs(house, entry)[0].id)
    assert housekeeping.reap(house) == 1
    assert status(house, entry) == "RECEIVED"
    with pytest.raises(Unprocessable, match="is not awaiting any processing results"):
        scene.answer(house, scene.sent(entry))
    assert scene.names_of(scene.ask(house)) == [entry]


def test_every_url_that_a_pipeline_gets_is_on_record(house: House, group_id: int) -> None:
    scene.received(house, group_id, "LOC_1", files=(b"one", b"two"))
    scene.received(house, group_id, "LOC_2", files=(b"three",))
    lines = scene.ask(house)
    ids = {file["fileId"] for line in lines for file in line["data"]["files"]["rawReads"]}
    with house.sessions.read() as session:
        rows = session.exec(select(FileAccess)).all()
    assert {row.file_id for row in rows} == ids
    assert {(row.actor, row.purpose) for row in rows} == {("pipeline", "pipeline")}
    assert len([row for row in audit_log(house) if row.action == "read files"]) == 1


# Results


def test_a_result_is_registered_and_its_entry_can_be_approved(house: House, entry: AccessionVersion) -> None:
    from readvault.services.review.approval import Scope, approve

    scene.answer(house, scene.sent(entry))
    seen = scene.look(house, entry)
    assert (seen["status"], seen["processingResult"], seen["errors"]) == ("PROCESSED", "NO_ISSUES", [])
    assert seen["processedData"]["metadata"] == {
        "date": "2020-01-01", "country": None, "platform": None, "clade": "20A", "snps": 3,
    }  # fmt: skip
    assert seen["processedData"]["alignedNucleotideSequences"] == {"main": scene.SEQUENCE}
    assert seen["processedData"]["nucleotideInsertions"] == {"main": ["5:AC"]}
    assert seen["processedData"]["alignedAminoAcidSequences"] == {"S": None}
    assert seen["processedData"]["aminoAcidInsertions"] == {"S": []}
    (row,) = manifests(house, entry)
    body = json.loads(row.body)
    assert body["sequences"]["main"] == hashlib.sha256(b"ACGT").hexdigest()
    assert body["provenance"]["external"] == {"mode": "instead", "pipelineVersion": 1}
    assert approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(entry, row.digest)]) == [entry]


def test_sequences_are_kept_in_upper_case(house: House, entry: AccessionVersion) -> None:
    scene.answer(
        house,
        scene.sent(
            entry,
            unalignedNucleotideSequences={"main": "acgt"},
            alignedNucleotideSequences={"main": scene.SEQUENCE.lower()},
            nucleotideInsertions={"main": ["5:ac"]},
            alignedAminoAcidSequences={"S": "mfk*"},
            aminoAcidInsertions={"S": ["2:def"]},
        ),
    )
    data = scene.look(house, entry)["processedData"]
    assert data["unalignedNucleotideSequences"] == {"main": "ACGT"}
    assert data["alignedNucleotideSequences"] == {"main": scene.SEQUENCE}
    assert data["nucleotideInsertions"] == {"main": ["5:AC"]}
    assert (data["alignedAminoAcidSequences"], data["aminoAcidInsertions"]) == ({"S": "MFK*"}, {"S": ["2:DEF"]})


@pytest.mark.parametrize("beside", [{}, {"main": None}], ids=["alone", "beside an empty segment"])
def test_a_sequence_that_is_passed_on_under_its_fasta_id_is_the_only_segment(
    house: House, group_id: int, beside: dict[str, None]
) -> None:
    name = scene.received(house, group_id, "LOC_1", submitted_sequences={"seq1": "ACGT"}, files=())
    scene.ask(house)
    scene.answer(house, scene.sent(name, unalignedNucleotideSequences={"seq1": "ACGT", **beside}))
    data = scene.look(house, name)["processedData"]
    assert data["unalignedNucleotideSequences"] == {"main": "ACGT"}
    assert data["sequenceNameToFastaId"] == {"main": "seq1"}


def test_a_name_that_nobody_submitted_is_no_segment(house: House, group_id: int) -> None:
    name = scene.received(house, group_id, "LOC_1", submitted_sequences={"seq1": "ACGT"}, files=())
    scene.ask(house)
    with pytest.raises(Unprocessable, match="Unknown segments in 'unalignedNucleotideSequences': seq2"):
        scene.answer(house, scene.sent(name, unalignedNucleotideSequences={"seq2": "ACGT"}))


def test_warnings_and_errors_are_told_in_the_pipelines_words(house: House, entry: AccessionVersion) -> None:
    scene.answer(house, scene.sent(entry, warnings=(scene.FAULT,)))
    seen = scene.look(house, entry)
    assert seen["processingResult"] == "HAS_WARNINGS"
    (told,) = seen["warnings"]
    assert told["message"] == "The frame is shifted."
    assert told["unprocessedFields"] == [{"type": "Metadata", "name": "date"}]
    assert told["processedFields"] == [{"type": "NucleotideSequence", "name": "main"}]


def test_beside_errors_the_data_are_not_examined(house: House, entry: AccessionVersion) -> None:
    scene.answer(
        house,
        scene.sent(entry, errors=(scene.FAULT,), metadata={"nonsense": 1},
                   unalignedNucleotideSequences={"what": "ÄÖ"}),
    )  # fmt: skip
    seen = scene.look(house, entry)
    assert (seen["status"], seen["processingResult"]) == ("PROCESSED", "HAS_ERRORS")


BAD = {
    "Unknown fields in metadata: one, two.": {"metadata": {"date": "2020-01-01", "two": 1, "one": 2}},
    "Missing the required field 'date'.": {"metadata": {"country": "CH"}},
    "Field 'date' is null, but a value is required.": {"metadata": {"date": None}},
    "Expected type 'string' for field 'country', found value '5'.": {"metadata": {"date": "2020-01-01", "country": 5}},
    "Expected type 'int' for field 'snps', found value 'true'.": {"metadata": {"date": "2020-01-01", "snps": True}},
    "Expected type 'date' in format 'yyyy-MM-dd' for field 'date', found value '\"1.2.2021\"'.": {
        "metadata": {"date": "1.2.2021"}
    },
    "Unknown segments in 'alignedNucleotideSequences': HA.": {"alignedNucleotideSequences": {"HA": "ACGT"}},
    "Unknown segments in 'unalignedNucleotideSequences': HA.": {"unalignedNucleotideSequences": {"HA": "ACGT"}},
    "Unknown segments in 'nucleotideInsertions': HA.": {"nucleotideInsertions": {"HA": ["1:A"]}},
    "The length of 'main' in 'alignedNucleotideSequences' is 3, but it should be 20.": {
        "alignedNucleotideSequences": {"main": "ACG"}
    },
    "The sequence of segment 'main' in 'alignedNucleotideSequences' contains invalid symbols: [Ä, Ö].": {
        "alignedNucleotideSequences": {"main": "ÄÖÄ" + scene.SEQUENCE[3:]}
    },
    "The sequence of segment 'main' in 'unalignedNucleotideSequences' contains invalid symbols: [Ä, -].": {
        "unalignedNucleotideSequences": {"main": "Ä-ACGT"}
    },
    "The insertion 123:ÄÖ of segment 'main' in 'nucleotideInsertions' contains invalid symbols: [Ä, Ö].": {
        "nucleotideInsertions": {"main": ["123:ÄÖ"]}
    },
    "Unknown genes in 'alignedAminoAcidSequences': N.": {"alignedAminoAcidSequences": {"N": "M"}},
    "Unknown genes in 'aminoAcidInsertions': N.": {"aminoAcidInsertions": {"N": ["1:A"]}},
    "The length of 'S' in 'alignedAminoAcidSequences' is 3, but it should be 4 or 5.": {
        "alignedAminoAcidSequences": {"S": "MFK"}
    },
    "The gene 'S' in 'alignedAminoAcidSequences' contains invalid symbols: [Ä].": {
        "alignedAminoAcidSequences": {"S": "MFÄ*"}
    },
    "An insertion of gene 'S' in 'aminoAcidInsertions' contains invalid symbols: [Ä, Ö].": {
        "aminoAcidInsertions": {"S": ["1:ÄÖ"]}
    },
}


@pytest.mark.parametrize("text", BAD)
def test_data_that_do_not_fit_are_refused_and_change_nothing(house: House, entry: AccessionVersion, text: str) -> None:
    with pytest.raises(Unprocessable) as refusal:
        scene.answer(house, scene.sent(entry, **BAD[text]))  # type: ignore[arg-type]
    assert str(refusal.value) == text
    assert status(house, entry) == "IN_PROCESSING"


def test_one_bad_result_refuses_the_whole_request(house: House, group_id: int) -> None:
    names = [scene.received(house, group_id, f"LOC_{n}", files=()) for n in (1, 2)]
    scene.ask(house)
    unknown = AccessionVersion("LOC_9", 1)
    for bad in (scene.sent(unknown), scene.sent(names[1], metadata={}), scene.sent(names[0])):
        with pytest.raises((Unprocessable, BadRequest)):
            scene.answer(house, scene.sent(names[0]), bad)
    assert [status(house, name) for name in names] == ["IN_PROCESSING"] * 2
    scene.answer(house, *map(scene.sent, names))
    assert [status(house, name) for name in names] == ["PROCESSED"] * 2


def test_what_is_not_awaited_is_refused_in_loculus_words(house: House, entry: AccessionVersion) -> None:
    text = "does not exist or is not awaiting any processing results"
    for name in (AccessionVersion("LOC_9", 1), AccessionVersion(entry.accession, 999)):
        with pytest.raises(Unprocessable, match=f"^Accession version {name} {text}$"):
            scene.answer(house, scene.sent(name))
    with pytest.raises(Unprocessable, match=r"is not awaiting processing results of version 7 \(anymore\)"):
        scene.answer(house, scene.sent(entry), version=7)
    with pytest.raises(BadRequest, match="duplicate accession version"):
        scene.answer(house, scene.sent(entry), scene.sent(entry))
    scene.answer(house, scene.sent(entry))
    with pytest.raises(Unprocessable, match=text):
        scene.answer(house, scene.sent(entry))
    assert len(manifests(house, entry)) == 1


def test_an_entry_of_another_organism(house: House, group_id: int, entry: AccessionVersion) -> None:
    old = house.organisms[ORGANISM]
    house.organisms["other"] = old.model_copy(update={"name": "other"})  # type: ignore[index]
    foreign = scene.received(house, group_id, "LOC_2", files=(), organism="other")
    with pytest.raises(Unprocessable, match=f"{foreign} is for organism other, but submitted data is for organism"):
        scene.answer(house, scene.sent(foreign))
    assert scene.ask(house) == []


def test_what_was_called_off_takes_no_result_and_can_be_asked_for_again(house: House, entry: AccessionVersion) -> None:
    """As after an edit."""
    with house.sessions.begin() as session:
        call_off(session, [entry])
    with pytest.raises(Unprocessable, match="not awaiting any"):
        scene.answer(house, scene.sent(entry))
    assert scene.names_of(scene.ask(house)) == [entry]


def test_a_maintainer_can_have_an_entry_processed_again(house: House, entry: AccessionVersion) -> None:
    scene.answer(house, scene.sent(entry))
    reprocessing.process_again(house, entry, "the pipeline was wrong", "maintainer")
    assert status(house, entry) == "PROCESSED"
    assert scene.names_of(scene.ask(house)) == [entry]
    scene.answer(house, scene.sent(entry, metadata={"date": "2021-02-03"}))
    assert [row.superseded_at is None for row in manifests(house, entry)] == [False, True]
    with house.sessions.read() as session:
        assert session.exec(select(PartialResult)).all() == []


# Files


def _given(house: House, group_id: int, *bodies: bytes) -> list[str]:
    return upload(house, PIPELINE, group_id, *bodies)


def register_waiting(house: House, name: AccessionVersion, folder: Path) -> None:
    """Do what a worker does with the job that hashes files."""
    registrations = scene.external_jobs(house, name, JobKind.REGISTER_EXTERNAL)
    (waiting,) = (each for each in registrations if each.state != JobState.DONE)
    claim = jobs.claim(house, waiting.id, "worker", frozenset())
    assert claim is not None
    register_external(house, claim, Lease(house, claim), folder)


def test_files_are_hashed_by_a_worker_before_the_version_is_registered(
    house: House, group_id: int, entry: AccessionVersion, tmp_path: Path, orchestrator: Any
) -> None:
    (file_id,) = _given(house, group_id, b"LOCUS")
    scene.answer(house, scene.sent(entry, files=(("annotations", "a.embl", file_id),)))
    assert status(house, entry) == "IN_PROCESSING"
    assert [delivery.kind for delivery in orchestrator.deliveries] == ["register-external"]
    assert scene.ask(house) == []
    register_waiting(house, entry, tmp_path)
    seen = scene.look(house, entry)
    assert seen["status"] == "PROCESSED"
    (file,) = seen["processedData"]["files"]["annotations"]
    assert (file["fileId"], file["name"], file["sha256"]) == (file_id, "a.embl", hashlib.sha256(b"LOCUS").hexdigest())
    with house.sessions.read() as session:
        assert session.exec(select(PartialResult)).all() == []
        assert session.get_one(UploadedFile, file_id).sha256 == hashlib.sha256(b"LOCUS").hexdigest()


def test_originals_that_are_passed_on_stay_with_the_group(house: House, group_id: int, tmp_path: Path) -> None:
    scene.attach(house, files={"rawReads": OutputCategory(may_contain_reads=False),
                               "annotations": OutputCategory(may_contain_reads=False),
                               "leftovers": OutputCategory()})  # fmt: skip
    name = scene.received(house, group_id, "LOC_1", files=(b"reads with human ones",))
    (line,) = scene.ask(house)
    (original,) = line["data"]["files"]["rawReads"]
    new, other = _given(house, group_id, b"LOCUS", b"something")
    files = (
        ("rawReads", original["name"], original["fileId"]),
        ("annotations", "hidden.fastq", original["fileId"]),
        ("annotations", "a.embl", new),
        ("leftovers", "rest.txt", other),
    )
    scene.answer(house, scene.sent(name, files=files))
    register_waiting(house, name, tmp_path)
    seen = scene.look(house, name)["processedData"]["files"]
    assert seen["rawReads"][0]["fileId"] == original["fileId"]
    (row,) = manifests(house, name)
    body, private = json.loads(row.body), json.loads(row.private_body or "")
    assert [file["name"] for file in body["files"]] == ["a.embl"]
    assert sorted(file["name"] for file in private["files"]) == ["hidden.fastq", "reads_0.fastq", "rest.txt"]
    assert private["inputs"][0]["sha256"] == hashlib.sha256(b"reads with human ones").hexdigest()
    with house.sessions.read() as session:
        assert len(session.exec(select(StoredObject)).all()) == 3


def test_a_submitted_file_with_another_hash_than_declared_is_an_error(
    house: House, group_id: int, tmp_path: Path
) -> None:
    name = scene.received(house, group_id, "LOC_1", files=(b"reads",))
    with house.sessions.begin() as session:
        file = session.exec(select(UploadedFile)).one()
        file.declared_sha256 = "0" * 64
    scene.ask(house)
    scene.answer(house, scene.sent(name))
    register_waiting(house, name, tmp_path)
    seen = scene.look(house, name)
    assert (seen["processingResult"], seen["errors"][0]["reason"]) == ("HAS_ERRORS", "wrongHash")


def test_files_whose_hash_is_known_need_no_worker(
    house: House, group_id: int, entry: AccessionVersion, tmp_path: Path
) -> None:
    (file_id,) = _given(house, group_id, b"LOCUS")
    scene.answer(house, scene.sent(entry, files=(("annotations", "a.embl", file_id),)))
    register_waiting(house, entry, tmp_path)
    second = scene.received(house, group_id, "LOC_2", files=())
    scene.ask(house)
    scene.answer(house, scene.sent(second, files=(("annotations", "b.embl", file_id),)))
    assert status(house, second) == "PROCESSED"


def test_many_results_with_files_take_few_statements(house: House, group_id: int) -> None:
    for number in range(60):
        scene.received(house, group_id, f"LOC_{number:03}", files=())
    names = scene.names_of(scene.ask(house))
    file_ids = _given(house, group_id, *(str(number).encode() for number in range(60)))
    with house.sessions.begin() as session:
        for file in session.exec(select(UploadedFile)).all():
            file.sha256 = hashlib.sha256(file.id.encode()).hexdigest()
    results = [
        scene.sent(name, files=(("annotations", "a.embl", file_id),))
        for name, file_id in zip(names, file_ids, strict=True)
    ]
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        seen.append(statement)

    event.listen(house.sessions.engine, "before_cursor_execute", note)
    try:
        scene.answer(house, *results)
    finally:
        event.remove(house.sessions.engine, "before_cursor_execute", note)
    with house.sessions.read() as session:
        assert len(session.exec(select(StoredObject)).all()) == 60
    # A statement for each manifest on SQLite, which hands out their numbers one by one; of all others there are few.
    assert len([each for each in seen if not each.startswith("INSERT INTO manifest ")]) < 80, seen


def test_files_that_may_not_be_sent(house: House, group_id: int, entry: AccessionVersion) -> None:
    (file_id,) = _given(house, group_id, b"LOCUS")
    foreign = upload(house, BOB, (other := group_of(house, BOB)), b"of Bob")[0]
    missing = "caaf8c66-e1ba-4c47-99b1-8c368adb9850"
    cases = {
        "not part of the configured output categories for sars-cov-2. Allowed": (("unknown", "a", file_id),),
        "not part of the configured output categories for sars-cov-2 for new": (("rawReads", "a", file_id),),
        "duplicate file names": (("annotations", "a", file_id), ("annotations", "a", file_id)),
        "Filenames may not contain": (("annotations", "a/b", file_id),),
        f"belongs to group {group_id} but the attached file {foreign} belongs to the group {other}": (
            ("annotations", "a", foreign),
        ),
        f"The following file IDs do not exist: {missing}": (("annotations", "a", missing),),
    }
    for text, files in cases.items():
        for errors in ((), (scene.FAULT,)):
            with pytest.raises(Unprocessable, match=text.replace(".", r"\.")):
                scene.answer(house, scene.sent(entry, files=files, errors=errors))
    assert status(house, entry) == "IN_PROCESSING"
    with house.sessions.read() as session:
        assert session.exec(select(UploadedFile.sealed_at)).all() == [None, None]


def test_a_file_that_was_never_uploaded(house: House, group_id: int, entry: AccessionVersion) -> None:
    from readvault.services.uploads.upload_requests import WantedFile, request_uploads

    ticket = request_uploads(house, PIPELINE, group_id, [WantedFile("a", 5, None)])[0]
    with pytest.raises(Unprocessable, match=f"No file uploaded for file IDs: {ticket.file_id}"):
        scene.answer(house, scene.sent(entry, files=(("annotations", "a", ticket.file_id),)))


def test_a_worker_that_fails_gives_the_job_back(
    house: House, group_id: int, entry: AccessionVersion, tmp_path: Path, store: Any
) -> None:
    from readvault.domain.errors import ProcessingFailure

    (file_id,) = _given(house, group_id, b"LOCUS")
    scene.answer(house, scene.sent(entry, files=(("annotations", "a.embl", file_id),)))
    (waiting,) = scene.external_jobs(house, entry, JobKind.REGISTER_EXTERNAL)
    claim = jobs.claim(house, waiting.id, "worker", frozenset())
    assert claim is not None
    store.down = True
    with pytest.raises(ProcessingFailure):
        register_external(house, claim, Lease(house, claim), tmp_path)
    jobs.give_up(house, claim, "S3", counted=True)
    store.down = False
    change(house, waiting.id, not_before=0.0)
    register_waiting(house, entry, tmp_path)
    assert status(house, entry) == "PROCESSED"


def test_a_released_result_is_never_replaced(house: House, entry: AccessionVersion) -> None:
    from readvault.services.review.approval import Scope, approve

    scene.answer(house, scene.sent(entry))
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    with pytest.raises(Conflict):
        reprocessing.process_again(house, entry, "again", "maintainer")
    assert scene.ask(house) == []
