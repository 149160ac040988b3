"""What Loculus's own tests ask of `POST /{organism}/submit`, asked of ours over HTTP.

docs/loculus-compatibility.md lists their files beside ours.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from readvault.domain.actor import MAINTAINER_ROLE, Actor
from readvault.domain.identifiers import accession_of
from readvault.domain.organism import FileCategory, MetadataField, Submission
from readvault.services.house import House
from readvault.services.uploads.upload_requests import request_upload
from tests.houses import ALICE, BOB, group_of, organism
from tests.integration.api.problems import assert_problem

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from tests.integration.api.conftest import Headers

METADATA = "id\tdate\tcountry\n" + "".join(f"custom{n}\t2020-12-{n + 10}\tSwitzerland\n" for n in range(10))
SEQUENCES = "".join(f">custom{n}\nACTG\n" for n in range(10))
REQUIRED, SEGMENTED, WITHOUT_CONSENSUS = "dummyOrganism", "otherOrganism", "dummyOrganismWithoutConsensusSequences"
TODAY = datetime.now(UTC).date()


@pytest.fixture
def house(house: House, tmp_path: Path) -> House:
    fields = (MetadataField(name="date"), MetadataField(name="country"))
    rules = {
        REQUIRED: Submission(consensus_sequences="required", files={"myFileCategory": FileCategory()}),
        SEGMENTED: Submission(consensus_sequences="required", files={}),
        WITHOUT_CONSENSUS: Submission(consensus_sequences="forbidden", files={}),
    }
    organisms = {name: organism(tmp_path, name, submission=rule, metadata=fields) for name, rule in rules.items()}
    settings = house.settings.model_copy(update={"data_use_terms": True})
    return replace(house, organisms=organisms, settings=settings)


class Submitter:
    """Submits the default files, but for what is said otherwise. None leaves a part out."""

    def __init__(self, api: TestClient, headers: Headers, house: House) -> None:
        self.api, self.headers, self.house = api, headers, house
        self.group = group_of(house, ALICE)

    def __call__(
        self,
        metadata: str | bytes | None = METADATA,
        sequences: str | bytes | None = SEQUENCES,
        *,
        organism: str = REQUIRED,
        names: tuple[str, str] = ("metadata.tsv", "sequences.fasta"),
        parts: tuple[str, str] = ("metadataFile", "sequenceFile"),
        who: Actor | None = ALICE,
        **fields: Any,
    ) -> Any:
        files = {
            part: (name, content)
            for part, name, content in zip(parts, names, (metadata, sequences), strict=True)
            if content is not None
        }
        data = {"groupId": self.group, "dataUseTermsType": "OPEN"} | fields
        headers = {} if who is None else self.headers(who)
        return self.api.post(
            f"/{organism}/submit", files=files, data={k: v for k, v in data.items() if v is not None}, headers=headers
        )

    def with_files(self, *cells: str, column: str = "files.myFileCategory") -> Any:
        rows = "".join(f"custom{n}\t2020-12-01\t{cell}\n" for n, cell in enumerate(cells))
        fasta = "".join(f">custom{n}\nAC\n" for n in range(len(cells)))
        return self(f"id\tdate\t{column}\n{rows}", fasta)

    def uploaded(self, content: bytes | None = b"content", who: Actor = ALICE, group: int | None = None) -> str:
        """A file that Loculus's way of uploading brought; None leaves its bytes out."""
        (ticket,) = request_upload(self.house, who, group or self.group, 1)
        if content is not None:
            self.house.store.put(ticket.put, content)  # type: ignore[attr-defined]
        return str(ticket.file_id)


@pytest.fixture
def submit(api: TestClient, headers: Headers, house: House) -> Submitter:
    return Submitter(api, headers, house)


def test_the_answer_maps_each_id_to_an_accession_with_its_check_character(submit: Submitter) -> None:
    answer = submit()
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json() == [
        {"accession": accession_of(n + 1, "LOC_"), "version": 1, "submissionId": f"custom{n}"} for n in range(10)
    ]


def test_nobody_submits_without_a_good_token(submit: Submitter, api: TestClient) -> None:
    assert submit(who=None).status_code == 401
    forged = api.post(f"/{REQUIRED}/submit", headers={"Authorization": "Bearer not.a.token"})
    assert (forged.status_code, forged.content) == (401, b"")
    assert 'error="invalid_token"' in forged.headers["www-authenticate"]


def test_groups_are_looked_at_first(submit: Submitter) -> None:
    assert_problem(submit(groupId=123456789), 404, "Group(s) 123456789 do(es) not exist")
    text = f"User bob is not a member of group(s) {submit.group}. Action not allowed."
    assert_problem(submit(metadata="not a table", who=BOB), 403, text)
    assert submit(who=Actor("admin", frozenset({MAINTAINER_ROLE}))).status_code == 200


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "zst": zstandard.compress,
    "xz": lzma.compress,
    "gz": gzip.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bz2": bz2.compress,
    "zip": lambda data: _zipped(data),
}


def _zipped(data: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("inner", data)
    return target.getvalue()


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("extension", COMPRESSIONS)
def test_files_may_be_compressed(submit: Submitter, extension: str, both: bool) -> None:
    compress = COMPRESSIONS[extension]
    answer = submit(
        compress(METADATA.encode()),
        compress(SEQUENCES.encode()) if both else SEQUENCES,
        names=(f"metadata.tsv.{extension}", f"sequences.fasta.{extension}" if both else "sequences.fna"),
    )
    assert answer.status_code == 200, answer.text
    assert len(answer.json()) == 10


def test_segments_are_named_by_fasta_ids(submit: Submitter) -> None:
    metadata = "id\tdate\tfastaIds\ncustom0\t2020-01-01\tcustom0_a custom0_b\n"
    answer = submit(metadata, ">custom0_a\nAC\n>custom0_b\nGT\n", organism=SEGMENTED)
    assert [entry["submissionId"] for entry in answer.json()] == ["custom0"]


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"parts": ("notMetadataFile", "sequenceFile")}, 400, "Required part 'metadataFile' is not present."),
        ({"parts": ("metadataFile", "other")}, 400, f"Submissions for organism {REQUIRED} require a sequence file."),
        ({"sequences": None}, 400, f"Submissions for organism {REQUIRED} require a sequence file."),
        ({"organism": WITHOUT_CONSENSUS}, 400, f"Sequence uploads are not allowed for organism {WITHOUT_CONSENSUS}."),
        ({"organism": "other"}, 400, "Invalid organism: other, possible values are: ["),
        ({"groupId": None}, 400, "Required parameter 'groupId' is not present."),
        ({"groupId": "x"}, 400, "'groupId'"),
        ({"names": ("metadata.wrong", "s.fasta")}, 400, "Metadata file has wrong extension. Must be .tsv for"),
        ({"names": ("metadata.tsv", "s.wrong")}, 400, "Sequence file has wrong extension. Must be .fa, .fasta, .seq,"),
        ({"metadata": "first\nvalue\n"}, 422, "does not contain either header 'id' or 'submissionId'"),
        ({"metadata": METADATA.replace("id\t", "id\tsubmissionId\t", 1)}, 422,
         "The metadata file contains both 'id' and 'submissionId'. Only one is allowed."),
        ({"metadata": "id\tfirst\n\tvalue\n"}, 422, "contains no value for 'id'"),
        ({"metadata": "id\tfirst\na b\tvalue\n"}, 422, "contains whitespace: 'a b'"),
        ({"metadata": "id\tfirst\na\tx\na\ty\n"}, 422, "Metadata file contains at least one duplicate submissionId"),
        ({"metadata": "id\nx\n"}, 422, "contains no metadata. This is invalid."),
        ({"metadata": "id\ta\ta\nx\t1\t2\n"}, 422, "duplicate name: a"),
        ({"metadata": "id\ta\nx\n"}, 422, "is not a valid TSV file"),
        ({"metadata": METADATA + "\textra\n"}, 422, "is not a valid TSV file"),
        ({"metadata": METADATA.replace("country\n", "fastaIds\n", 1).replace("\tSwitzerland", "\t")}, 422,
         "column `fastaIds` is empty"),
        ({"sequences": SEQUENCES + ">custom0\nAC\n"}, 422, "duplicate"),
        ({"sequences": SEQUENCES + ">notInMetadata\nAC\n"}, 422,
         "Sequence file contains 1 FASTA ids that are not present in the metadata file: 'notInMetadata'"),
        ({"metadata": METADATA + "notInSequences\t2020-01-01\tItaly\n"}, 422,
         "Metadata file contains 1 FASTA ids that are not present in the sequence file: 'notInSequences'"),
        ({"metadata": b"id\ta\nx\t\xff\n"}, 422, "not encoded in UTF-8"),
        ({"dataUseTermsType": None}, 400, "The 'dataUseTermsType' must be set to OPEN or RESTRICTED."),
        ({"dataUseTermsType": "SECRET"}, 400, "SECRET"),
        ({"dataUseTermsType": "RESTRICTED"}, 400, "The date 'restrictedUntil' must be set"),
        ({"dataUseTermsType": "RESTRICTED", "restrictedUntil": "tomorrow"}, 400, "'restrictedUntil' must be a valid"),
        ({"dataUseTermsType": "RESTRICTED", "restrictedUntil": str(TODAY - timedelta(days=1))}, 400,
         "must be in the future, up to a maximum of 1 year from now."),
        ({"dataUseTermsType": "RESTRICTED", "restrictedUntil": str(TODAY + timedelta(days=730))}, 400,
         "up to a maximum of 1 year from now."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_in_the_words_of_loculus(
    submit: Submitter, changes: dict[str, Any], status: int, text: str
) -> None:
    assert_problem(submit(**changes), status, text)
    listed = submit.api.get(f"/{REQUIRED}/get-sequences", headers=submit.headers(ALICE)).json()
    assert listed["sequenceEntries"] == []


def test_restricted_terms_stand_on_the_entry(submit: Submitter) -> None:
    until: date = TODAY + timedelta(days=30)
    assert submit(dataUseTermsType="RESTRICTED", restrictedUntil=until.isoformat()).status_code == 200
    listed = submit.api.get(f"/{REQUIRED}/get-sequences", headers=submit.headers(ALICE)).json()
    assert listed["sequenceEntries"][0]["dataUseTerms"] == {
        "type": "RESTRICTED",
        "restrictedUntil": until.isoformat(),
    }


def test_an_organism_without_consensus_takes_metadata_alone(submit: Submitter) -> None:
    answer = submit(sequences=None, organism=WITHOUT_CONSENSUS)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()) == 10


def test_the_old_name_of_the_id_column_still_works(submit: Submitter) -> None:
    answer = submit(METADATA.replace("id\t", "submissionId\t", 1))
    assert [entry["submissionId"] for entry in answer.json()] == [f"custom{n}" for n in range(10)]


def test_parameters_may_stand_in_the_query(submit: Submitter) -> None:
    files = {"metadataFile": ("m.tsv", METADATA), "sequenceFile": ("s.fa", SEQUENCES)}
    query = {"groupId": submit.group, "dataUseTermsType": "OPEN"}
    answer = submit.api.post(f"/{REQUIRED}/submit", params=query, files=files, headers=submit.headers(ALICE))
    assert answer.status_code == 200, answer.text


# Files


def test_a_file_can_be_used_by_many_entries_and_submissions(submit: Submitter) -> None:
    file_id = submit.uploaded()
    for _ in range(2):
        answer = submit.with_files(f"foo.txt:{file_id}", f"bar.txt:{file_id}", "")
        assert answer.status_code == 200, answer.text
        assert len(answer.json()) == 3


def test_the_column_files_means_the_first_category(submit: Submitter) -> None:
    (accession,) = (e["accession"] for e in submit.with_files(f"foo:{submit.uploaded()}", column="files").json())
    details = submit.api.get(f"/{REQUIRED}/get-submitted-metadata", headers=submit.headers(ALICE))
    assert accession in details.text
    assert submit.with_files(f"foo:{submit.uploaded()}", column="files\tfiles.myFileCategory").status_code == 422


def test_files_of_an_organism_that_takes_none_are_refused(submit: Submitter) -> None:
    metadata = f"id\tdate\tfiles.x\ncustom0\t2020-01-01\tf:{uuid.uuid4()}\n"
    answer = submit(metadata, ">custom0\nAC\n", organism=SEGMENTED)
    assert_problem(answer, 400, "the otherOrganism organism does not support file submission.")


def test_a_category_that_is_not_configured_is_refused(submit: Submitter) -> None:
    text = (
        "The category unknown is not part of the configured submission categories for dummyOrganism."
        " Allowed categories are: myFileCategory"
    )
    assert_problem(submit.with_files(f"foo:{submit.uploaded()}", column="files.unknown"), 422, text)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("foo", "file entry 'foo' in column 'files.myFileCategory' is missing a file ID. Expected format"),
        (":{id}", "is missing a file name"),
        ("foo:123", "has an invalid file ID '123'. Expected a UUID"),
        ("foo:" + "x" * 36, "has an invalid file ID"),
        ("foo:{id} foo:{id}", "found duplicate file names in column 'files.myFileCategory': foo"),
        ("a/b:{id}", "Invalid filename 'a/b' in category 'myFileCategory'"),
        ("a|b:{id}", "Invalid filename 'a|b' in category 'myFileCategory'"),
        ("x" * 256 + ":{id}", "Invalid filename"),
    ],
)
def test_a_cell_that_names_no_file_is_refused(submit: Submitter, cell: str, text: str) -> None:
    answer = submit.with_files(cell.replace("{id}", submit.uploaded()))
    assert_problem(answer, 422, text)
    fault = answer.json()["errors"][0]
    assert (fault["row"], fault["column"]) == (1, "files.myFileCategory")


def test_a_colon_in_a_file_name_is_refused(submit: Submitter) -> None:
    assert_problem(submit.with_files(f"a:b:{submit.uploaded()}"), 422, "Invalid filename 'a:b'")


def test_an_id_that_does_not_exist_is_refused(submit: Submitter) -> None:
    unknown = str(uuid.uuid4())
    assert_problem(submit.with_files(f"foo:{unknown}"), 422, f"The following file IDs do not exist: {unknown}")


def test_a_file_whose_bytes_never_came_is_refused(submit: Submitter) -> None:
    file_id = submit.uploaded(None)
    assert_problem(submit.with_files(f"foo:{file_id}"), 422, f"No file uploaded for file IDs: {file_id}")


def test_a_file_of_another_group_is_refused(submit: Submitter) -> None:
    theirs = submit.uploaded(who=BOB, group=group_of(submit.house, BOB))
    answer = submit.with_files(f"foo:{theirs}")
    assert answer.status_code in (400, 422), answer.text
    assert theirs in answer.json()["detail"]
    unknown = str(uuid.uuid4())
    other = submit.with_files(f"foo:{unknown}")
    body, body_of_unknown = (re.sub(i, "ID", a.text) for i, a in ((theirs, answer), (unknown, other)))
    assert (answer.status_code, body) == (other.status_code, body_of_unknown), "whether it exists is a secret"


def test_nothing_is_kept_of_a_submission_with_one_bad_file(submit: Submitter) -> None:
    good = submit.uploaded()
    assert submit.with_files(f"foo:{good}", f"foo:{uuid.uuid4()}").status_code == 422
    answer = submit.with_files(f"foo:{good}")
    assert answer.json()[0]["accession"] == accession_of(1, "LOC_")
