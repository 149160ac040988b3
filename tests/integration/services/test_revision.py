"""Revising: a new version of what is sent and of what was there, all or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import col, select

from readvault.db.tables import DataUseTerms, DeletedEntryVersion, EntryVersion, IdempotentRequest, Job
from readvault.domain.actor import Actor
from readvault.domain.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    ReadvaultError,
    TooLarge,
    Unauthenticated,
    Unprocessable,
)
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import FileCategory, Submission
from readvault.services.house import House
from readvault.services.idempotency import Once
from readvault.services.processing import jobs
from readvault.services.submission import reading
from readvault.services.submission.revocation import revoke
from readvault.services.submission.writing import SubmittedEntry
from tests.fakes import RecordingOrchestrator
from tests.houses import ALICE, BOB, MAINTAINER, tsv, upload
from tests.integration.services.life import (
    METADATA,
    at_once,
    counts,
    files_of,
    release,
    released,
    revised,
    status,
    version,
    with_organism,
)
from tests.integration.services.scenes import ORGANISM, audit_log, claimed, entry, group, processed, result

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def mine(house: House) -> int:
    return group(house, "alice")


def _refused(house: House, *rows: dict[str, str], error: type[ReadvaultError] = Unprocessable, **options: Any) -> str:
    """The refusal; nothing may have been written."""
    before = counts(house)
    with pytest.raises(ReadvaultError) as refusal:
        revised(house, *rows, **options)
    assert type(refusal.value) is error, refusal.value
    assert counts(house) == before
    return str(refusal.value)


# What comes of a revision


def test_a_revision_is_the_next_version_with_a_job(
    house: House, mine: int, orchestrator: RecordingOrchestrator
) -> None:
    name = released(house, mine)
    before = len(orchestrator.deliveries)
    answer = revised(house, {"accession": name.accession, "id": "again", "country": "CH"}, actor=MAINTAINER)
    assert answer == [SubmittedEntry(name.accession, 2, "again")]
    second = version(house, AccessionVersion(name.accession, 2))
    assert second.submitted_metadata == {**METADATA, "country": "CH"}
    assert (second.organism, second.group_id, second.submitter) == (ORGANISM, mine, "maintainer")
    assert second.batch_id is not None
    assert not second.is_revocation
    assert status(house, name) == "APPROVED_FOR_RELEASE"
    assert status(house, AccessionVersion(name.accession, 2)) == "RECEIVED"
    assert len(orchestrator.deliveries) == before + 1
    assert audit_log(house)[-1].action == "revise"
    release(house, AccessionVersion(name.accession, 2))
    assert revised(house, {"accession": name.accession})[0].version == 3


def test_metadata_are_replaced_not_merged(house: House, mine: int) -> None:
    name = released(house, mine, submitted_metadata={"date": "2020-01-01", "country": "CH", "note": "old"})
    revised(house, {"accession": name.accession})
    assert version(house, AccessionVersion(name.accession, 2)).submitted_metadata == METADATA


def test_files_without_a_column_are_kept(house: House, mine: int) -> None:
    name = released(house, mine, files=(b"one", b"two"))
    revised(house, {"accession": name.accession})
    assert files_of(house, AccessionVersion(name.accession, 2)) == files_of(house, name)
    assert len(files_of(house, name)["rawReads"]) == 2


def test_files_are_kept_added_replaced_and_dropped(house: House, mine: int) -> None:
    first, second, third = (released(house, mine, files=(bytes([n]),)) for n in range(3))
    (added,) = upload(house, ALICE, mine, b"added")
    old = {name: files_of(house, name)["rawReads"][0] for name in (first, second, third)}
    revised(
        house,
        {"accession": first.accession, "files.rawReads": f"{old[first][0]}:{old[first][1]} new.fastq:{added}"},
        {"accession": second.accession, "files.rawReads": f"{old[second][0]}:{added}"},
        {"accession": third.accession, "files.alignment": f"x.bam:{added}"},
    )
    now = {name: files_of(house, AccessionVersion(name.accession, 2)) for name in (first, second, third)}
    assert now[first] == {"rawReads": [old[first], ("new.fastq", added)]}
    assert now[second] == {"rawReads": [(old[second][0], added)]}
    assert now[third] == {"alignment": [("x.bam", added)]}, "an empty cell drops the files of its category"


def test_a_column_of_one_category_leaves_the_others(house: House, mine: int) -> None:
    name = released(house, mine)
    (added,) = upload(house, ALICE, mine, b"added")
    revised(house, {"accession": name.accession, "files.alignment": f"x.bam:{added}"})
    now = files_of(house, AccessionVersion(name.accession, 2))
    assert now == {**files_of(house, name), "alignment": [("x.bam", added)]}


def test_files_of_any_earlier_version_can_be_named_again(house: House, mine: int) -> None:
    name = released(house, mine)
    (label, file_id) = files_of(house, name)["rawReads"][0]
    (other,) = upload(house, ALICE, mine, b"other")
    revised(house, {"accession": name.accession, "files.rawReads": f"o.fq:{other}"})
    release(house, AccessionVersion(name.accession, 2))
    revised(house, {"accession": name.accession, "files.rawReads": f"{label}:{file_id}"})
    assert files_of(house, AccessionVersion(name.accession, 3)) == {"rawReads": [(label, file_id)]}


def test_kept_files_count_where_files_are_required(house: House, mine: int) -> None:
    name = released(house, mine)
    strict = with_organism(house, submission=Submission(files={"rawReads": FileCategory(required=True)}))
    assert _refused(strict, {"accession": "123"}) == "Accessions 123 do not exist"
    assert "a file is required" in _refused(strict, {"accession": name.accession, "files.rawReads": ""})
    revised(strict, {"accession": name.accession})
    assert files_of(house, AccessionVersion(name.accession, 2)) == files_of(house, name)


def test_a_kept_file_makes_its_metadata_required(house: House, mine: int) -> None:
    name = released(house, mine)
    text = _refused(house, {"accession": name.accession, "platform": ""})
    assert "column 'platform': a value is required because" in text


def test_files_of_a_category_that_is_no_longer_taken_are_kept(house: House, mine: int) -> None:
    name = released(house, mine)
    other = with_organism(house, submission=Submission(files={"alignment": FileCategory(may_contain_reads=False)}))
    records = b">r0\nACGT\n"
    revised(other, {"accession": name.accession}, sequences=records, sequences_name="s.fasta")
    assert files_of(house, AccessionVersion(name.accession, 2)) == files_of(house, name)


def test_terms_stay(house: House, mine: int) -> None:
    name = released(house, mine)
    with house.sessions.begin() as session:
        session.add(
            DataUseTerms(
                accession=name.accession, terms_type="RESTRICTED", restricted_until="2999-01-01", user_name="alice",
                changed_at=1.0,
            )
        )  # fmt: skip
    revised(house, {"accession": name.accession})
    second = version(house, AccessionVersion(name.accession, 2))
    assert (second.terms_type, second.restricted_until) == ("RESTRICTED", "2999-01-01")
    with house.sessions.read() as session:
        newest = session.exec(select(DataUseTerms).order_by(col(DataUseTerms.id).desc())).first()
    assert newest is not None
    assert newest.changed_at == 1.0, "a revision changes no terms"


# Sequences


@pytest.mark.parametrize("rule", ["required", "optional"])
def test_sequences_are_kept_without_a_file_and_replaced_by_one(house: House, mine: int, rule: Any) -> None:
    name = released(house, mine, submitted_sequences={"seq": "ACGT"})
    ruled = with_organism(house, submission=Submission(consensus_sequences=rule))
    revised(ruled, {"accession": name.accession})
    assert version(house, AccessionVersion(name.accession, 2)).submitted_sequences == {"seq": "ACGT"}
    release(house, AccessionVersion(name.accession, 2))
    revised(ruled, {"accession": name.accession}, sequences=b">r0\nGGGG\n", sequences_name="s.fasta")
    assert version(house, AccessionVersion(name.accession, 3)).submitted_sequences == {"r0": "GGGG"}


def test_an_empty_cell_of_fasta_ids_drops_the_sequence(house: House, mine: int) -> None:
    name = released(house, mine, submitted_sequences={"seq": "ACGT"})
    revised(house, {"accession": name.accession, "fastaIds": ""})
    assert version(house, AccessionVersion(name.accession, 2)).submitted_sequences == {}


def test_a_required_sequence_that_nobody_has(house: House, mine: int) -> None:
    name = released(house, mine)
    ruled = with_organism(house, submission=Submission(consensus_sequences="required"))
    text = _refused(ruled, {"accession": name.accession})
    assert f"the latest version of {name.accession} has no consensus sequence to keep" in text


def test_sequences_where_none_are_allowed(house: House, mine: int) -> None:
    name = released(house, mine)
    ruled = with_organism(house, submission=Submission(consensus_sequences="forbidden"))
    text = _refused(
        ruled, {"accession": name.accession}, sequences=b">r0\nA\n", sequences_name="s.fa", error=BadRequest
    )
    assert text == f"Sequence uploads are not allowed for organism {ORGANISM}."


def test_an_entry_can_not_lose_everything(house: House, mine: int) -> None:
    name = released(house, mine)
    text = _refused(house, {"accession": name.accession, "files.rawReads": ""})
    assert "there is neither a file of reads nor a consensus sequence" in text


# Refusals


def test_who_may_revise(house: House, mine: int) -> None:
    name = released(house, mine)
    row = {"accession": name.accession}
    _refused(house, row, actor=None, error=Unauthenticated)
    text = _refused(house, row, actor=BOB, error=Forbidden)
    assert text == f"User bob is not a member of group(s) {mine}. Action not allowed."


def test_unknown_accessions(house: House, mine: int) -> None:
    name = released(house, mine)
    text = _refused(house, {"accession": "124"}, {"accession": name.accession}, {"accession": "123"})
    assert text == "Accessions 123, 124 do not exist"


def test_entries_of_another_organism(house: House, mine: int) -> None:
    name, _ = entry(house, mine, organism="other")
    text = _refused(house, {"accession": name.accession})
    assert f"The following accession versions are not of organism {ORGANISM}: {name}" in text


def test_the_latest_version_must_be_released(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    text = _refused(house, {"accession": name.accession})
    assert text == f"Accession versions are not in one of the states [APPROVED_FOR_RELEASE]: {name} - PROCESSED"
    old = released(house, mine)
    revised(house, {"accession": old.accession})
    assert _refused(house, {"accession": old.accession}).endswith(f"{old.accession}.2 - RECEIVED")


def test_one_bad_row_revises_nothing_and_all_faults_are_told(house: House, mine: int) -> None:
    first, second = released(house, mine), released(house, mine)
    text = _refused(
        house,
        {"accession": first.accession, "date": "yesterday"},
        {"accession": second.accession, "files.rawReads": "no-id"},
        {"accession": "123"},
    )
    assert "Accessions 123 do not exist" in text
    assert "record #1 with id 'r0': column 'date'" in text
    assert "record #2 with id 'r1': file entry 'no-id' in column 'files.rawReads' is missing a file ID" in text


def test_an_accession_is_named_once_and_in_every_row(house: House, mine: int) -> None:
    name = released(house, mine)
    text = _refused(house, {"accession": name.accession}, {"accession": name.accession}, {"accession": ""})
    assert f"record #1 with id 'r0': accession '{name.accession}' is revised more than once" in text
    assert "Record #3 in the metadata file contains no value for 'accession'." in text


def test_a_file_without_the_column(house: House) -> None:
    text = _refused(house, metadata=tsv({"id": "r0", **METADATA}))
    assert text == "The revised metadata file does not contain the header 'accession'"


def test_foreign_and_unknown_files_have_one_answer(house: House, mine: int) -> None:
    name = released(house, mine)
    theirs = group(house, "bob")
    (foreign,) = upload(house, BOB, theirs, b"secret")
    texts = [
        _refused(house, {"accession": name.accession, "files.rawReads": f"r.fq:{file_id}"}).replace(file_id, "X")
        for file_id in (foreign, UNKNOWN)
    ]
    assert texts[0] == texts[1] == "The following file IDs do not exist: X"


def test_a_file_above_its_categorys_limit(house: House, mine: int) -> None:
    name = released(house, mine, files=(b"many bytes",))
    small = with_organism(house, submission=Submission(files={"rawReads": FileCategory(max_bytes_per_file=3)}))
    assert "has 10 bytes" in _refused(small, {"accession": name.accession}, error=TooLarge)


def test_kept_files_are_no_part_of_what_is_submitted(house: House, mine: int) -> None:
    """Else entries with much data could not have their metadata corrected together."""
    name = released(house, mine, files=(b"a", b"b"))
    limits = house.settings.limits.model_copy(update={"files_per_submission": 1, "bytes_per_submission": 5})
    tight = replace(house, settings=house.settings.model_copy(update={"limits": limits}))
    one, two = upload(house, ALICE, mine, b"five!", b"more")
    row = {"accession": name.accession, "files.alignment": f"x.bam:{one} y.bam:{two}"}
    assert "One submission may name 1 files" in _refused(tight, row, error=TooLarge)
    revised(tight, {**row, "files.alignment": f"x.bam:{one}"})
    assert len(files_of(house, AccessionVersion(name.accession, 2))["rawReads"]) == 2


# Dry runs and requests that are sent again


def test_a_dry_run_checks_everything_and_writes_nothing(house: House, mine: int) -> None:
    name = released(house, mine)
    (added,) = upload(house, ALICE, mine, b"added")
    before = counts(house)
    row = {"accession": name.accession, "files.rawReads": f"a.fq:{added}"}
    assert revised(house, row, dry_run=True) == [SubmittedEntry(name.accession, 2, "r0")]
    assert counts(house) == before
    assert "do not exist" in _refused(house, {**row, "files.rawReads": f"a.fq:{UNKNOWN}"}, dry_run=True)
    assert revised(house, row) == [SubmittedEntry(name.accession, 2, "r0")]


def test_a_revision_that_is_sent_again_is_done_once(house: House, mine: int) -> None:
    name = released(house, mine)
    once = Once.of("key", "revise", "what was asked")
    first = revised(house, {"accession": name.accession}, once=once)
    assert revised(house, {"accession": name.accession}, once=once) == first
    with house.sessions.read() as session:
        assert len(session.exec(select(EntryVersion)).all()) == 2
        assert len(session.exec(select(IdempotentRequest)).all()) == 1
    other = Once.of("key", "revise", "something else")
    with pytest.raises(Unprocessable, match="Idempotency-Key"):
        revised(house, {"accession": name.accession}, once=other)


# Names and races


def test_a_deleted_version_number_is_not_used_again(house: House, mine: int) -> None:
    name = released(house, mine)
    with house.sessions.begin() as session:
        session.add(
            DeletedEntryVersion(accession=name.accession, version=2, organism=ORGANISM, group_id=mine,
                                deleted_by="alice", deleted_at=1.0)
        )  # fmt: skip
    assert revised(house, {"accession": name.accession})[0].version == 3


def test_of_two_revisions_at_once_one_wins(house: House, mine: int) -> None:
    names = [released(house, mine) for _ in range(3)]
    rows = [{"accession": name.accession} for name in names]
    answers = at_once(*(lambda order=order: revised(house, *order) for order in (rows, rows[::-1]) * 2))  # type: ignore[misc]
    assert sum(isinstance(answer, list) for answer in answers) == 1, answers
    assert all(isinstance(answer, list | Unprocessable | Conflict) for answer in answers), answers
    with house.sessions.read() as session:
        assert len(session.exec(select(EntryVersion)).all()) == 6
        assert len(session.exec(select(Job).where(Job.kind == "process-submission")).all()) == 6


def test_a_revision_and_a_revocation_at_once(house: House, mine: int) -> None:
    name = released(house, mine)
    answers = at_once(
        lambda: revised(house, {"accession": name.accession}),
        lambda: revoke(house, ALICE, ORGANISM, accessions=[name.accession]),
    )
    assert sum(isinstance(answer, list) for answer in answers) == 1, answers
    with house.sessions.read() as session:
        assert len(session.exec(select(EntryVersion)).all()) == 2


def test_an_entry_that_changes_while_it_is_looked_at(house: House, mine: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version was released between the look and the write: what would be kept is outdated."""
    name = released(house, mine)
    check = reading.check_sizes

    def checked(*arguments: Any) -> None:
        monkeypatch.setattr(reading, "check_sizes", check)
        check(*arguments)
        revised(house, {"accession": name.accession})
        release(house, AccessionVersion(name.accession, 2))

    monkeypatch.setattr(reading, "check_sizes", checked)
    with pytest.raises(Conflict):
        revised(house, {"accession": name.accession})


def test_a_membership_that_ends_while_something_is_revised(
    house: House, mine: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from readvault.services.people.groups import remove_member

    name = released(house, mine)
    check = reading.check_sizes

    def checked(*arguments: Any) -> None:
        check(*arguments)
        remove_member(house, ALICE, mine, "alice")

    monkeypatch.setattr(reading, "check_sizes", checked)
    with pytest.raises(Forbidden):
        revised(house, {"accession": name.accession})


def test_a_worker_on_the_old_version_does_not_touch_the_new_one(house: House, mine: int) -> None:
    name = released(house, mine)
    revised(house, {"accession": name.accession})
    with house.sessions.read() as session:
        job_id = session.exec(select(Job.id).where(Job.version == 2)).one()
    claim = claimed(house, job_id)
    jobs.register(house, claim, result(house, claim))
    assert status(house, AccessionVersion(name.accession, 2)) == "PROCESSED"
    assert status(house, name) == "APPROVED_FOR_RELEASE"


def test_a_removed_user_is_no_member(house: House, mine: int) -> None:
    name = released(house, mine)
    _refused(house, {"accession": name.accession}, actor=Actor("stranger"), error=Forbidden)
