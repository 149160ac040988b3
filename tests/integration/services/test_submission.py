"""Submitting: all faults at once in Loculus's words, all or nothing, files sealed for ever."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import zstandard
from sqlalchemy import event
from sqlmodel import Session, SQLModel, col, select

from readvault.config import LimitSettings
from readvault.db import audit
from readvault.db.tables import EntryFile, EntryVersion, Job, UploadedFile
from readvault.domain.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    RuleViolation,
    TooLarge,
    Unauthenticated,
    Unprocessable,
)
from readvault.domain.organism import FileCategory, MetadataField, MetadataType, Organism, Submission
from readvault.services.house import House
from readvault.services.idempotency import Once
from readvault.services.queue import deliveries
from readvault.services.submission.new_entries import SubmittedEntry, submit
from readvault.services.uploads import file_states, upload_requests
from readvault.services.uploads.answers import WantedFile
from tests.fakes import MemoryStore, RecordingOrchestrator
from tests.houses import ALICE, BOB, MAINTAINER, PIPELINE, group_of, organism, tsv, upload
from tests.integration.services.life import at_once

UNKNOWN = "00000000-0000-4000-8000-000000000000"


class Lab:
    """A group of Alice's that submits."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.group_id = group_of(house, ALICE)

    def upload(self, *bodies: bytes) -> list[str]:
        return upload(self.house, ALICE, self.group_id, *bodies)

    def row(self, submission_id: str = "s1", **cells: str) -> dict[str, str]:
        return {"id": submission_id, "date": "2024-01-01", "platform": "ILLUMINA", **cells}

    def submit(self, *rows: dict[str, str], **options: Any) -> list[SubmittedEntry]:
        given: dict[str, Any] = {"actor": ALICE, "group_id": self.group_id}
        given |= {"metadata": tsv(*rows), "metadata_name": "metadata.tsv", **options}
        return submit(self.house, given.pop("actor"), "sars-cov-2", **given)

    def refused(
        self, *rows: dict[str, str], error: type[RuleViolation] = Unprocessable, **options: Any
    ) -> RuleViolation:
        """The refusal; nothing may have been written."""
        before = self.counts()
        with pytest.raises(RuleViolation) as refusal:
            self.submit(*rows, **options)
        assert type(refusal.value) is error, refusal.value
        assert self.counts() == before
        return refusal.value

    def counts(self) -> list[int]:
        with self.house.sessions.read() as session:
            tables = [SQLModel.metadata.tables[name] for name in ("entry_version", "entry_file", "job")]
            sealed = session.exec(select(UploadedFile.id).where(col(UploadedFile.sealed_at).is_not(None))).all()
            return [len(sealed), *(len(session.connection().execute(table.select()).all()) for table in tables)]

    def with_organism(self, **changes: Any) -> Lab:
        """The same lab under other rules."""
        old = self.house.organisms["sars-cov-2"]
        changed: Organism = old.model_copy(update=changes)
        self.house = replace(self.house, organisms={changed.name: changed})
        return self

    def with_settings(self, **changes: Any) -> Lab:
        self.house = replace(self.house, settings=self.house.settings.model_copy(update=changes))
        return self


@pytest.fixture
def lab(house: House) -> Lab:
    return Lab(house)


def all_of[Row: SQLModel](house: House, table: type[Row]) -> list[Row]:
    with house.sessions.read() as session:
        return list(session.exec(select(table)).all())


# What comes of a good submission


def test_entries_files_and_jobs_come_into_being_together(
    lab: Lab, store: MemoryStore, orchestrator: RecordingOrchestrator
) -> None:
    first, second = lab.upload(b"one", b"two two")
    entries = lab.submit(
        lab.row("a", **{"files.rawReads": f"r1.fq:{first} r2.fq:{second}"}, country="CH"),
        lab.row("b", **{"files.alignment": f"x.bam:{second}"}, country=""),
    )
    assert entries == [SubmittedEntry("LOC_000001Y", 1, "a"), SubmittedEntry("LOC_000002W", 1, "b")]
    a, b = sorted(all_of(lab.house, EntryVersion), key=lambda entry: entry.submission_id)
    assert a.submitted_metadata == {"date": "2024-01-01", "platform": "ILLUMINA", "country": "CH"}
    assert b.submitted_metadata["country"] == ""
    assert (a.organism, a.group_id, a.submitter, a.terms_type) == ("sars-cov-2", lab.group_id, "alice", "OPEN")
    files = sorted((f.accession, f.category, f.position, f.name, f.file_id) for f in all_of(lab.house, EntryFile))
    assert files == [
        ("LOC_000001Y", "rawReads", 0, "r1.fq", first),
        ("LOC_000001Y", "rawReads", 1, "r2.fq", second),
        ("LOC_000002W", "alignment", 0, "x.bam", second),
    ]
    jobs = all_of(lab.house, Job)
    assert {(job.accession, job.version, job.kind, job.state) for job in jobs} == {
        ("LOC_000001Y", 1, "process-submission", "queued"),
        ("LOC_000002W", 1, "process-submission", "queued"),
    }
    assert {delivery.job_id for delivery in orchestrator.deliveries} == {job.id for job in jobs}
    sealed = {file.id: (file.version_id, file.size) for file in all_of(lab.house, UploadedFile)}
    stored = {key.rpartition("/")[2]: (v[0][0], len(v[0][1])) for key, v in store.versions.items()}
    assert sealed == stored


def test_accessions_go_on_counting(lab: Lab) -> None:
    (file_id,) = lab.upload(b"x")
    cell = {"files.rawReads": f"r.fq:{file_id}"}
    assert [entry.accession for n in range(3) for entry in lab.submit(lab.row(f"s{n}", **cell))] == [
        "LOC_000001Y",
        "LOC_000002W",
        "LOC_000003U",
    ]


def test_it_is_in_the_audit_log_without_the_submitters_words(lab: Lab) -> None:
    (file_id,) = lab.upload(b"x")
    lab.submit(lab.row("secret-id", **{"files.rawReads": f"secret-name.fq:{file_id}"}))
    with lab.house.sessions.read() as session:
        assert audit.verify(session) == []
        row = session.connection().exec_driver_sql("SELECT * FROM audit_log ORDER BY id DESC").first()
    assert "submit" in str(row)
    assert "LOC_000001Y" in str(row)
    assert "secret" not in str(row)


def test_the_first_version_of_a_key_is_sealed(lab: Lab, store: MemoryStore) -> None:
    (file_id,) = lab.upload(b"first")
    (key,) = store.versions
    store.write(key, b"later")
    lab.submit(lab.row(**{"files.rawReads": f"r.fq:{file_id}"}))
    (file,) = all_of(lab.house, UploadedFile)
    assert file.version_id == store.versions[key][0][0]


def test_a_sealed_file_serves_again_and_the_store_is_not_asked(lab: Lab, store: MemoryStore) -> None:
    (file_id,) = lab.upload(b"x")
    lab.submit(lab.row("a", **{"files.rawReads": f"r.fq:{file_id}"}))
    store.down = True
    lab.submit(lab.row("b", **{"files.rawReads": f"again.fq:{file_id}"}))
    assert len(all_of(lab.house, EntryFile)) == 2


def test_the_store_is_asked_by_batch_and_not_by_file(lab: Lab, store: MemoryStore) -> None:
    ids = lab.upload(*(b"%d" % n for n in range(20)))
    store.calls.clear()
    lab.submit(*(lab.row(f"s{n}", **{"files.rawReads": f"r.fq:{file_id}"}) for n, file_id in enumerate(ids)))
    assert store.calls == ["list_versions"] * 2


def test_an_orchestrator_that_is_down_does_not_harm(lab: Lab, orchestrator: RecordingOrchestrator) -> None:
    orchestrator.down = True
    (file_id,) = lab.upload(b"x")
    assert len(lab.submit(lab.row(**{"files.rawReads": f"r.fq:{file_id}"}))) == 1
    assert [job.state for job in all_of(lab.house, Job)] == ["queued"]


def test_a_delivery_that_breaks_does_not_harm(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> int:
        raise RuntimeError("https://secret.example/")

    monkeypatch.setattr(deliveries, "deliver_now", broken)
    (file_id,) = lab.upload(b"x")
    assert len(lab.submit(lab.row(**{"files.rawReads": f"r.fq:{file_id}"}))) == 1


def test_a_column_files_is_the_first_category(lab: Lab) -> None:
    (file_id,) = lab.upload(b"x")
    lab.submit(lab.row(files=f"r.fq:{file_id}"))
    assert [file.category for file in all_of(lab.house, EntryFile)] == ["rawReads"]


def test_a_name_may_have_colons_before_the_last(lab: Lab) -> None:
    """The file ID comes after the last colon; the colon in the name is then refused as a character."""
    (file_id,) = lab.upload(b"x")
    refusal = lab.refused(lab.row(**{"files.rawReads": f"a:b.fq:{file_id}"}))
    assert str(refusal).startswith("Invalid filename 'a:b.fq' in category 'rawReads'")


def test_file_ids_in_capitals_are_the_same(lab: Lab) -> None:
    (file_id,) = lab.upload(b"x")
    assert len(lab.submit(lab.row(**{"files.rawReads": f"r.fq:{file_id.upper()}"}))) == 1


# Who


def test_who_may_submit(lab: Lab) -> None:
    (file_id,) = lab.upload(b"x")
    row = lab.row(**{"files.rawReads": f"r.fq:{file_id}"})
    lab.refused(row, actor=None, error=Unauthenticated)
    lab.refused(row, actor=BOB, error=Forbidden)
    lab.refused(row, actor=PIPELINE, error=Forbidden)
    lab.refused(row, group_id=4711, error=NotFound)
    assert len(lab.submit(row, actor=MAINTAINER)) == 1


def test_an_unknown_organism(lab: Lab) -> None:
    with pytest.raises(BadRequest, match=r"^Invalid organism: x, possible values are: \[sars-cov-2\]$"):
        submit(lab.house, ALICE, "x", group_id=lab.group_id, metadata=b"", metadata_name="m.tsv")


# Files that can't be sealed


def test_foreign_and_unknown_file_ids_get_one_answer(lab: Lab) -> None:
    other = Lab(lab.house)
    (foreign,) = other.upload(b"x")
    texts = [
        str(lab.refused(lab.row(**{"files.rawReads": f"r.fq:{file_id}"}))).replace(file_id, "ID")
        for file_id in (foreign, UNKNOWN)
    ]
    assert texts == ["The following file IDs do not exist: ID"] * 2


def test_a_sealed_foreign_file_is_as_secret_as_any(lab: Lab) -> None:
    other = Lab(lab.house)
    (foreign,) = other.upload(b"x")
    other.submit(other.row(**{"files.rawReads": f"r.fq:{foreign}"}))
    refusal = lab.refused(lab.row(**{"files.rawReads": f"r.fq:{foreign}"}))
    assert str(refusal) == f"The following file IDs do not exist: {foreign}"


def test_a_file_that_was_not_uploaded(lab: Lab) -> None:
    (answer,) = upload_requests.request_uploads(lab.house, ALICE, lab.group_id, [WantedFile("a", 3)])
    refusal = lab.refused(lab.row(**{"files.rawReads": f"r.fq:{answer.file_id}"}))
    assert str(refusal) == f"No file uploaded for file IDs: {answer.file_id}"


def test_a_file_of_another_size_than_declared(lab: Lab, store: MemoryStore) -> None:
    """A provider that doesn't enforce a signed length."""
    (answer,) = upload_requests.request_uploads(lab.house, ALICE, lab.group_id, [WantedFile("a", 3)])
    with lab.house.sessions.read() as session:
        store.write(session.get_one(UploadedFile, answer.file_id).key, b"four")
    refusal = lab.refused(lab.row(**{"files.rawReads": f"r.fq:{answer.file_id}"}))
    assert str(refusal) == f"File 'r.fq' ({answer.file_id}) has 4 bytes, declared were 3."


def test_an_unfinished_multipart_upload(lab: Lab) -> None:
    (answer,) = upload_requests.request_multipart_upload(lab.house, ALICE, lab.group_id)
    refusal = lab.refused(lab.row(**{"files.rawReads": f"r.fq:{answer.file_id}"}))
    assert str(refusal) == f"The following multipart uploads have not been completed: {answer.file_id}"


def test_an_expired_upload(lab: Lab) -> None:
    (file_id,) = lab.upload(b"x")
    with lab.house.sessions.begin() as session:
        session.get_one(UploadedFile, file_id).expires_at = 1.0
    refusal = lab.refused(lab.row(**{"files.rawReads": f"r.fq:{file_id}"}))
    assert str(refusal) == f"The following file IDs are no longer valid because they have expired: {file_id}"


def test_an_upload_that_is_given_up_while_it_is_submitted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look into the store and the seal."""
    (file_id,) = lab.upload(b"x")
    meanwhile(lab, monkeypatch, lambda: file_states.abort(lab.house, ALICE, file_id))
    refusal = lab.refused(lab.row(**{"files.rawReads": f"r.fq:{file_id}"}))
    assert "expired" in str(refusal)


def test_a_membership_that_ends_while_something_is_submitted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from readvault.services.people.groups import remove_member

    (file_id,) = lab.upload(b"x")
    meanwhile(lab, monkeypatch, lambda: remove_member(lab.house, ALICE, lab.group_id, "alice"))
    lab.refused(lab.row(**{"files.rawReads": f"r.fq:{file_id}"}), error=Forbidden)


def test_two_submissions_of_one_file_at_once_seal_it_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    (file_id,) = lab.upload(b"x")
    meanwhile(lab, monkeypatch, lambda: lab.submit(lab.row("b", **{"files.rawReads": f"r.fq:{file_id}"})))
    lab.submit(lab.row("a", **{"files.rawReads": f"r.fq:{file_id}"}))
    assert len(all_of(lab.house, EntryVersion)) == 2
    with lab.house.sessions.read() as session:
        used = session.connection().exec_driver_sql("SELECT scope, sealed_bytes FROM upload_usage ORDER BY scope").all()
    assert [tuple(row) for row in used] == [(f"group:{lab.group_id}", 1), ("user:alice", 1)]


def meanwhile(lab: Lab, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something just before the next write transaction of a submission, once."""
    from readvault.services.submission import reading

    check = reading.check_sizes

    def checked(*arguments: Any) -> None:
        monkeypatch.setattr(reading, "check_sizes", check)
        check(*arguments)
        act()

    monkeypatch.setattr(reading, "check_sizes", checked)


def test_a_file_above_its_categorys_limit(lab: Lab) -> None:
    (file_id,) = lab.upload(b"four")
    lab.with_organism(submission=Submission(files={"rawReads": FileCategory(max_bytes_per_file=3)}))
    refusal = lab.refused(lab.row(**{"files.rawReads": f"r.fq:{file_id}"}), error=TooLarge)
    assert "file 'r.fq' has 4 bytes; a file of category rawReads may have 3" in str(refusal)


# Tokens, names, categories

PREFIX = "In metadata file: record #1 with id 's1': "
TOKENS = {
    "no ID": (
        "r.fq",
        PREFIX + "file entry 'r.fq' in column 'files.rawReads' is missing a file ID. Expected format"
        " 'fileName:fileId'. Please also ensure file names do not contain whitespace.",
    ),
    "no name": (f":{UNKNOWN}", PREFIX + f"file entry ':{UNKNOWN}' in column 'files.rawReads' is missing a file name."),
    "short ID": ("r.fq:1-2", PREFIX + "file entry 'r.fq:1-2' in column 'files.rawReads' has an invalid file ID '1-2'."),
    "no UUID": ("r.fq:" + "z" * 36, PREFIX + "file entry 'r.fq:" + "z" * 36 + "' in column 'files.rawReads' has an"),
    "twice": (
        f"r.fq:{UNKNOWN} r.fq:{UNKNOWN}",
        PREFIX + "found duplicate file names in column 'files.rawReads': r.fq",
    ),
    "slash": (f"../r.fq:{UNKNOWN}", "Invalid filename '../r.fq' in category 'rawReads': Filenames may not contain"),
    "direction": (f"a\u202eqf.r:{UNKNOWN}", "Invalid filename 'a\u202eqf.r' in category 'rawReads': Filenames may not"),
    "bell": (f"a\x07b:{UNKNOWN}", "Invalid filename 'a\x07b' in category 'rawReads': Filenames may not contain ASCII"),
    "long": (
        f"{'n' * 256}:{UNKNOWN}",
        f"Invalid filename '{'n' * 256}' in category 'rawReads': Filenames may not exceed",
    ),
    "dots": (f"..:{UNKNOWN}", "Invalid filename '..' in category 'rawReads'"),
}


@pytest.mark.parametrize(("cell", "text"), TOKENS.values(), ids=TOKENS.keys())
def test_bad_file_cells_are_refused_in_the_words_of_loculus(lab: Lab, cell: str, text: str) -> None:
    assert str(lab.refused(lab.row(**{"files.rawReads": cell}))).startswith(text)


def test_a_category_that_the_organism_does_not_know(lab: Lab) -> None:
    assert str(lab.refused(lab.row(**{"files.x": ""}))) == (
        "The category x is not part of the configured submission categories for sars-cov-2."
        " Allowed categories are: rawReads, alignment."
    )


def test_an_organism_without_files(lab: Lab) -> None:
    lab.with_organism(submission=Submission(files={}))
    refusal = lab.refused(lab.row(**{"files.rawReads": ""}), error=BadRequest)
    assert str(refusal) == "the sars-cov-2 organism does not support file submission."


def test_required_files_and_too_many_files(lab: Lab) -> None:
    lab.with_organism(submission=Submission(files={"rawReads": FileCategory(required=True, max_files=1)}))
    assert "column 'files.rawReads': a file is required" in str(lab.refused(lab.row(**{"files.rawReads": ""})))
    cell = f"a:{UNKNOWN} b:{UNKNOWN}"
    assert "has 2 files; 1 are allowed" in str(lab.refused(lab.row(**{"files.rawReads": cell})))


# The table itself


def test_all_faults_of_all_rows_come_at_once_with_row_and_column(lab: Lab) -> None:
    refusal = lab.refused(
        lab.row("a", date="2024-13-40"),
        lab.row("b", date="", **{"files.rawReads": "r.fq"}),
        lab.row("c d", platform="NANOPORE"),
        lab.row("e", **{"files.rawReads": f"r.fq:{UNKNOWN}"}, platform=""),
    )
    found = {(fault.record, fault.line, fault.fields[0].name) for fault in refusal.annotations if fault.fields}
    assert {
        (1, 2, "date"),
        (2, 3, "date"),
        (2, 3, "rawReads"),
        (3, 4, "id"),
        (3, 4, "platform"),
        (4, 5, "platform"),
    } <= found
    assert "record #1 with id 'a': column 'date': '2024-13-40' is no date; expected YYYY-MM-DD" in str(refusal)
    assert "'NANOPORE' is not one of ILLUMINA, OXFORD_NANOPORE" in str(refusal)
    assert "a value is required because 'files.rawReads' is given" in str(refusal)


def test_a_missing_column_is_one_fault_and_not_one_of_each_row(lab: Lab) -> None:
    rows = [{"id": f"s{n}", "country": "CH", "files.alignment": f"a:{UNKNOWN}"} for n in range(3)]
    refusal = lab.refused(*rows)
    assert str(refusal) == "The metadata file does not contain the required column 'date'"


def test_a_hundred_faults_are_listed_and_the_rest_counted(lab: Lab) -> None:
    refusal = lab.refused(*(lab.row(f"s{n}", date="x", **{"files.alignment": f"a:{UNKNOWN}"}) for n in range(150)))
    assert len(refusal.annotations) == 101
    assert str(refusal).endswith("50 more faults are not listed.")


TABLES = {
    "no ID column": ("name\tdate\nx\t2024-01-01\n", "The metadata file does not contain either header 'id' or"),
    "two ID columns": ("id\tsubmissionId\nx\tx\n", "The metadata file contains both 'id' and 'submissionId'."),
    "empty": ("", "The metadata file does not contain either header"),
    "header only": ("id\tdate\n", "The metadata file contains no entries."),
    "repeated column": ("id\tdate\tdate\nx\ta\tb\n", "The metadata file is not a valid TSV file."),
    "nameless column": ("id\tdate\t\nx\ta\tb\n", "The metadata file is not a valid TSV file."),
    "ragged": ("id\tdate\nx\n", "The metadata file is not a valid TSV file."),
    "open quote": ('id\tdate\nx\t"2024-01-01\n', "The metadata file is not a valid TSV file."),
    "commas": (
        "id,date\nx,2024-01-01\n",
        "The metadata file does not contain either header 'id' or 'submissionId'. Its first line has no tab",
    ),
    "no ID": ("id\tdate\n\t2024-01-01\n", "Record #1 in the metadata file contains no value for 'id'."),
    "NUL": ("id\tdate\nx\t\0\n", "Metadata file contains a NUL character (line 2)."),
    "long cell": ("id\tdate\tcountry\nx\t2024-01-01\t" + "c" * 40_000, PREFIX.replace("s1", "x") + "column 'country'"),
}


@pytest.mark.parametrize(("text", "start"), TABLES.values(), ids=TABLES.keys())
def test_what_is_no_table_of_entries(lab: Lab, text: str, start: str) -> None:
    assert str(lab.refused(metadata=text.encode())).startswith(start)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_what_is_not_utf8(lab: Lab, encoding: str) -> None:
    data = "id\tdate\tcountry\nx\t2024-01-01\tTürkiye\n".encode(encoding)
    assert "is not encoded in UTF-8" in str(lab.refused(metadata=data))


def test_repeated_submission_ids(lab: Lab) -> None:
    cell = {"files.alignment": f"a:{UNKNOWN}"}
    refusal = lab.refused(lab.row("same", **cell), lab.row("same", **cell))
    assert str(refusal).startswith("Metadata file contains at least one duplicate submissionId: 'same'")


def test_a_byte_order_mark_crlf_blank_lines_and_quotes_are_fine(lab: Lab) -> None:
    (file_id,) = lab.upload(b"x")
    text = (
        f'\ufeffid\tdate\tcountry\tfiles.alignment\r\n\r\ns\t2024-01-01\t" Basel ""Stadt"" "\tr.bam:{file_id}\r\n\r\n'
    )
    lab.submit(metadata=text.encode())
    (entry,) = all_of(lab.house, EntryVersion)
    assert entry.submitted_metadata == {"date": "2024-01-01", "country": 'Basel "Stadt"'}


def test_more_rows_than_allowed(lab: Lab) -> None:
    lab.with_settings(limits=LimitSettings(rows_per_submission=2))
    lab.refused(*(lab.row(f"s{n}") for n in range(3)), error=TooLarge)


VALUES = {
    MetadataType.DATE: ("2024-02-29", ["2023-02-29", "2024", "44197", "29.02.2024", "2024-2-9"]),
    MetadataType.INT: ("-12", ["1.5", "x", "1_000"]),
    MetadataType.FLOAT: ("1.5e3", ["x", "nan", "inf", "1_0"]),
    MetadataType.NUMBER: (".5", ["1,5"]),
    MetadataType.BOOLEAN: ("True", ["yes", "1"]),
    MetadataType.AUTHORS: ("Roe, J.; Doe, J.", []),
    MetadataType.STRING: ("=1+1", []),
}


@pytest.mark.parametrize("kind", list(MetadataType))
def test_values_of_each_type(lab: Lab, kind: MetadataType) -> None:
    good, bad = VALUES[kind]
    lab.with_organism(metadata=(MetadataField(name="value", type=kind),))
    (file_id,) = lab.upload(b"x")
    cell = {"files.rawReads": f"r:{file_id}"}
    refusals = [fault.record for fault in lab.refused(*values(bad, cell)).annotations] if bad else []
    assert refusals == list(range(1, len(bad) + 1))
    lab.submit({"id": "good", "value": good, **cell})


def values(bad: list[str], cell: dict[str, str]) -> list[dict[str, str]]:
    return [{"id": f"s{n}", "value": value, **cell} for n, value in enumerate(bad)]


# Compressed files


def zipped(data: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("anything", data)
    return target.getvalue()


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "zst": zstandard.compress,
    "xz": lzma.compress,
    "zip": zipped,
    "gz": gzip.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bz2": bz2.compress,
}


@pytest.mark.parametrize("extension", list(COMPRESSIONS))
def test_compressed_files(lab: Lab, extension: str) -> None:
    compress = COMPRESSIONS[extension]
    metadata, sequences = compress(tsv(lab.row("s1"))), compress(b">s1\nACGT\n")
    lab.submit(
        metadata=metadata,
        metadata_name=f"my.metadata.tsv.{extension}",
        sequences=sequences,
        sequences_name=f"s.fasta.{extension}",
    )
    (entry,) = all_of(lab.house, EntryVersion)
    assert entry.submitted_sequences == {"s1": "ACGT"}


@pytest.mark.parametrize("extension", list(COMPRESSIONS))
def test_what_is_compressed_otherwise_than_its_name_says_or_cut_off(lab: Lab, extension: str) -> None:
    whole = COMPRESSIONS[extension](tsv(*(lab.row(f"s{n}", country=str(n * n)) for n in range(500))))
    for data in (b"id\tdate\n", whole[: len(whole) // 2]):
        name = f"m.tsv.{extension}"
        assert str(lab.refused(metadata=data, metadata_name=name)).startswith(
            ("Metadata file can't be decompressed", "The")
        )


@pytest.mark.parametrize("extension", list(COMPRESSIONS))
def test_bombs_stop_at_the_limit(lab: Lab, extension: str) -> None:
    lab.with_settings(limits=LimitSettings(bytes_of_metadata=10_000))
    bomb = COMPRESSIONS[extension](b"a" * 5_000_000)
    assert len(bomb) < 10_000
    lab.refused(metadata=bomb, metadata_name=f"m.tsv.{extension}", error=TooLarge)


def test_wrong_extensions_are_refused_in_the_words_of_loculus(lab: Lab) -> None:
    refusal = lab.refused(metadata_name="metadata.csv", error=BadRequest)
    assert str(refusal) == (
        "Metadata file has wrong extension. Must be .tsv for uncompressed submissions or .tsv.zst, .tsv.xz, .tsv.zip,"
        " .tsv.gz, .tsv.lzma, .tsv.bz2 for compressed submissions"
    )
    refusal = lab.refused(lab.row(), sequences=b">s1\nA", sequences_name="s.txt", error=BadRequest)
    assert str(refusal).startswith("Sequence file has wrong extension. Must be .fa, .fasta, .seq, .fna, .fas for")


# Consensus sequences


def test_each_entry_may_have_a_consensus_or_not(lab: Lab) -> None:
    (file_id,) = lab.upload(b"x")
    cell = {"files.rawReads": f"r.fq:{file_id}"}
    lab.submit(lab.row("a", **cell), lab.row("b", **cell), sequences=b">b note\r\nACGT\r\nnrY\n", sequences_name="s.fa")
    found = {entry.submission_id: entry.submitted_sequences for entry in all_of(lab.house, EntryVersion)}
    assert found == {"a": {}, "b": {"b": "ACGTnrY"}}


def test_segments_come_by_fasta_ids(lab: Lab) -> None:
    (file_id,) = lab.upload(b"x")
    lab.submit(
        lab.row("a", fastaIds="x1 x2"),
        lab.row("b", fastaIds="", **{"files.rawReads": f"r.fq:{file_id}"}),
        sequences=b">x1\nAC\n>x2\nGT\n",
        sequences_name="s.fasta",
    )
    found = {entry.submission_id: entry.submitted_sequences for entry in all_of(lab.house, EntryVersion)}
    assert found == {"a": {"x1": "AC", "x2": "GT"}, "b": {}}


SEQUENCES = {
    "unused": (
        "a",
        ">a\nAC\n>z\nA\n",
        "Sequence file contains 1 FASTA ids that are not present in the metadata file: 'z'",
    ),
    "missing": ("a b", ">a\nAC\n", "Metadata file contains 1 FASTA ids that are not present in the sequence file: 'b'"),
    "twice in the cell": ("a a", ">a\nAC\n", PREFIX + "found duplicate fasta ids in column 'fastaIds': a"),
    "twice in the file": ("a", ">a\nAC\n>a\nGT\n", "Sequence file contains at least one duplicate submissionId: 'a'"),
    "no nucleotides": ("a", ">a\nACGTEF\n", "Sequence file: 'a' (line 1) has 'E' at position 5"),
    "gaps": ("a", ">a\nAC-T\n", "Sequence file: 'a' (line 1) has '-' at position 3"),
    "no sequence": ("a", ">a\n", "Sequence file: 'a' (line 1) has no sequence."),
    "no header": ("a", "ACGT\n>a\nA\n", "Sequence file: there is text before the first '>'."),
    "nameless": ("a", ">a\nA\n>\nA\n", "Sequence file: record #2 (line 3) has no ID after '>'."),
}


@pytest.mark.parametrize(("fasta_ids", "sequences", "start"), SEQUENCES.values(), ids=SEQUENCES.keys())
def test_sequences_that_do_not_fit(lab: Lab, fasta_ids: str, sequences: str, start: str) -> None:
    row = lab.row(fastaIds=fasta_ids)
    refusal = lab.refused(row, sequences=sequences.encode(), sequences_name="s.fasta")
    assert any(fault.message.startswith(start) for fault in refusal.annotations), str(refusal)


def test_a_sequence_of_two_entries(lab: Lab) -> None:
    rows = (lab.row("a", fastaIds="x"), lab.row("b", fastaIds="x"))
    assert (
        str(lab.refused(*rows, sequences=b">x\nA\n", sequences_name="s.fa"))
        == "Metadata file contains duplicate fastaIds."
    )


def test_where_a_consensus_is_required(lab: Lab) -> None:
    lab.with_organism(submission=Submission(consensus_sequences="required"))
    refusal = lab.refused(lab.row(), error=BadRequest)
    assert str(refusal) == "Submissions for organism sars-cov-2 require a sequence file."
    refusal = lab.refused(lab.row("a"), lab.row("b"), sequences=b">a\nA\n", sequences_name="s.fa")
    assert str(refusal) == "Metadata file contains 1 FASTA ids that are not present in the sequence file: 'b'"
    assert "column `fastaIds` is empty" in str(lab.refused(lab.row(fastaIds=""), sequences=b"", sequences_name="s.fa"))


def test_where_no_consensus_is_allowed(lab: Lab) -> None:
    lab.with_organism(submission=Submission(consensus_sequences="forbidden"))
    refusal = lab.refused(lab.row(), sequences=b">s1\nA\n", sequences_name="s.fa", error=BadRequest)
    assert str(refusal) == "Sequence uploads are not allowed for organism sars-cov-2."
    (file_id,) = lab.upload(b"reads")
    assert len(lab.submit(lab.row(**{"files.rawReads": f"r.fq:{file_id}"}))) == 1


@pytest.mark.parametrize(
    ("categories", "refusal"),
    [
        ({}, None),
        ({"rawReads": FileCategory()}, "there is no file"),
        ({"notes": FileCategory(may_contain_reads=False)}, "there is no file"),
    ],
    ids=["no files", "reads", "only files without reads"],
)
def test_metadata_alone_where_no_consensus_is_allowed(
    lab: Lab, categories: dict[str, FileCategory], refusal: str | None
) -> None:
    """An entry needs something to be processed, unless the organism takes nothing but metadata."""
    lab.with_organism(submission=Submission(consensus_sequences="forbidden", files=categories))
    if refusal is None:
        assert len(lab.submit(lab.row())) == 1
    else:
        assert f"record #1 with id 's1': {refusal}" in str(lab.refused(lab.row()))


def test_an_entry_with_neither_reads_nor_consensus(lab: Lab) -> None:
    refusal = "there is neither a file of reads nor a consensus sequence"
    assert refusal in str(lab.refused(lab.row()))
    notes = FileCategory(may_contain_reads=False)
    lab.with_organism(submission=Submission(files={"notes": notes, "rawReads": FileCategory()}))
    [file_id] = lab.upload(b"only a note")
    assert refusal in str(lab.refused(lab.row(**{"files.notes": f"note.txt:{file_id}"})))


# Data use terms


def day(offset: int) -> str:
    return f"{datetime.now(UTC) + timedelta(days=offset):%Y-%m-%d}"


TERMS: dict[str, tuple[str | None, Callable[[], str | None], str]] = {
    "none": (None, lambda: None, "dataUseTermsType"),
    "unknown": ("SECRET", lambda: None, "Invalid dataUseTermsType: SECRET, possible values are: [OPEN, RESTRICTED]"),
    "no date": (
        "RESTRICTED",
        lambda: None,
        "The date 'restrictedUntil' must be set if 'dataUseTermsType' is RESTRICTED.",
    ),
    "no real date": ("RESTRICTED", lambda: "2024-02-30", "must be a valid date in the format YYYY-MM-DD: 2024-02-30."),
    "past": ("RESTRICTED", lambda: day(-2), "must be in the future, up to a maximum of 1 year from now."),
    "far": ("RESTRICTED", lambda: day(368), "must be in the future, up to a maximum of 1 year from now."),
}


@pytest.mark.parametrize(("terms", "until", "text"), TERMS.values(), ids=TERMS.keys())
def test_bad_terms(lab: Lab, terms: str | None, until: Callable[[], str | None], text: str) -> None:
    lab.with_settings(data_use_terms=True)
    refusal = lab.refused(lab.row(), terms_type=terms, restricted_until=until(), error=BadRequest)
    assert text in str(refusal)


def test_restricted_entries_remember_until_when(lab: Lab) -> None:
    lab.with_settings(data_use_terms=True)
    lab.submit(
        lab.row(), sequences=b">s1\nA\n", sequences_name="s.fa", terms_type="RESTRICTED", restricted_until=day(100)
    )
    (entry,) = all_of(lab.house, EntryVersion)
    assert (entry.terms_type, entry.restricted_until) == ("RESTRICTED", day(100))


def test_a_failure_in_the_middle_leaves_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(session: Session, *_: Any, **__: Any) -> None:
        session.flush()
        raise RuntimeError("power cut")

    (file_id,) = lab.upload(b"x")
    row = lab.row(**{"files.rawReads": f"r.fq:{file_id}"})
    with monkeypatch.context() as broken_log:
        broken_log.setattr(audit, "append", broken)
        with pytest.raises(RuntimeError):
            lab.submit(row)
    assert lab.counts() == [0, 0, 0, 0]
    assert lab.submit(row) == [SubmittedEntry("LOC_000001Y", 1, "s1")]


def test_organisms_keep_their_rules_apart(lab: Lab, tmp_path: Any) -> None:
    other = organism(tmp_path, "measles", metadata=())
    lab.house = replace(lab.house, organisms={**lab.house.organisms, "measles": other})
    submit(
        lab.house, ALICE, "measles", group_id=lab.group_id, metadata=tsv({"id": "m", "place": "CH"}),
        metadata_name="m.tsv", sequences=b">m\nA\n", sequences_name="s.fa",
    )  # fmt: skip
    assert [entry.organism for entry in all_of(lab.house, EntryVersion)] == ["measles"]


# Dry runs, requests that are sent again, many rows


def test_a_dry_run_seals_and_charges_nothing(lab: Lab, orchestrator: RecordingOrchestrator) -> None:
    (file_id,) = lab.upload(b"reads")
    before = lab.counts()
    row = lab.row(**{"files.rawReads": f"r.fq:{file_id}"})
    assert lab.submit(row, dry_run=True) == [SubmittedEntry(None, 1, "s1")]
    assert lab.counts() == before
    with lab.house.sessions.read() as session:
        assert session.get_one(UploadedFile, file_id).sealed_at is None
        usage = session.connection().exec_driver_sql("SELECT sum(sealed_bytes) FROM upload_usage").scalar()
    assert not usage
    assert orchestrator.deliveries == []
    assert lab.submit(row)[0].accession == "LOC_000001Y", "a dry run uses up no accession"


def test_a_dry_run_meets_every_limit(lab: Lab) -> None:
    (file_id,) = lab.upload(b"reads")
    small = lab.with_organism(submission=Submission(files={"rawReads": FileCategory(max_bytes_per_file=4)}))
    refusal = small.refused(lab.row(**{"files.rawReads": f"r.fq:{file_id}"}), error=TooLarge, dry_run=True)
    assert "has 5 bytes" in str(refusal)


def test_a_submission_that_is_sent_again_is_done_once(lab: Lab) -> None:
    (file_id,) = lab.upload(b"reads")
    row = lab.row(**{"files.rawReads": f"r.fq:{file_id}"})
    once = Once.of("key", "submit", "this")
    assert lab.submit(row, once=once) == lab.submit(row, once=once)
    assert len(all_of(lab.house, EntryVersion)) == 1
    assert "Idempotency-Key" in str(lab.refused(row, once=Once.of("key", "submit", "that")))


def test_twins_at_once_get_one_answer(lab: Lab) -> None:
    """A client that lost patience sends its request again while the first one is still at work."""
    (file_id,) = lab.upload(b"reads")
    row = lab.row(**{"files.rawReads": f"r.fq:{file_id}"})
    once = Once.of("key", "submit", "this")
    answers = at_once(*(lambda: lab.submit(row, once=once) for _ in range(4)))
    assert answers == [[SubmittedEntry("LOC_000001Y", 1, "s1")]] * 4
    assert len(all_of(lab.house, EntryVersion)) == 1


def test_many_rows_take_few_statements(lab: Lab) -> None:
    """What a submission costs grows with its bytes, not with round trips to the database."""
    file_ids = lab.upload(*(f"{number}".encode() for number in range(300)))
    rows = [lab.row(f"s{n}", **{"files.rawReads": f"r.fq:{file_id}"}) for n, file_id in enumerate(file_ids)]
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        seen.append(statement)

    lab.house.orchestrator.down = True  # type: ignore[attr-defined]
    event.listen(lab.house.sessions.engine, "before_cursor_execute", note)
    try:
        lab.submit(*rows)
    finally:
        event.remove(lab.house.sessions.engine, "before_cursor_execute", note)
    assert len(all_of(lab.house, EntryVersion)) == 300
    assert len(seen) < 60, seen
