"""What was submitted, read again: exact, ready to be revised, and never anybody else's."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from readvault.domain import tsv
from readvault.domain.errors import Forbidden, NotFound, Unauthenticated, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import FileCategory, Submission
from readvault.domain.status import Status
from readvault.services.house import House
from readvault.services.review.approval import Scope, approve
from readvault.services.submission import metadata_file
from readvault.services.submission.revision import revise
from readvault.services.submission.revocation import revoke
from readvault.services.submission.submitted_data import write_submitted_data
from readvault.services.submission.submitted_metadata import PAGE, Wanted, submitted_metadata
from tests.houses import ALICE, BOB, MAINTAINER
from tests.integration.services.life import METADATA, files_of, release, released, revised, version, with_organism
from tests.integration.services.scenes import ORGANISM, claimed, entry, group, processed


@pytest.fixture
def mine(house: House) -> int:
    return group(house, "alice")


def _archive(house: House, group_id: int, *, actor: Any = ALICE, accessions: list[str] | None = None) -> dict[str, str]:
    target = io.BytesIO()
    write_submitted_data(house, actor, ORGANISM, group_id=group_id, accessions=accessions, target=target)
    with zipfile.ZipFile(target) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def _table(files: dict[str, str]) -> list[dict[str, str]]:
    header, *rows = (line.split("\t") for line in files["metadata.tsv"].splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


# The archive


def test_the_archive_has_the_latest_released_versions(house: House, mine: int) -> None:
    name = released(house, mine, submission_id="a", submitted_metadata=METADATA, submitted_sequences={"a": "ACGT"})
    revised(house, {"accession": name.accession, "id": "b", "country": "CH"})
    release(house, AccessionVersion(name.accession, 2))
    files = _archive(house, mine)
    (row,) = _table(files)
    ((label, file_id),) = files_of(house, name)["rawReads"]
    assert row == {
        "id": "b", "accession": name.accession, "fastaIds": "a", **METADATA, "country": "CH",
        "files.rawReads": f"{label}:{file_id}", "files.alignment": "",
    }  # fmt: skip
    assert files["sequences.fasta"] == ">a\nACGT\n"
    assert files["metadata.tsv"].startswith("id\taccession\tfastaIds\t")


def test_what_is_left_out(house: House, mine: int) -> None:
    entry(house, mine)
    processed(house, mine)
    revoked, waiting = released(house, mine), released(house, mine)
    revoke(house, ALICE, ORGANISM, accessions=[revoked.accession])
    approve(
        house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(AccessionVersion(revoked.accession, 2), None)]
    )
    revised(house, {"accession": waiting.accession})
    released(house, group(house, "bob", "alice"))
    files = _archive(house, mine)
    assert _table(files) == []
    assert files == {"metadata.tsv": "id\taccession\tdate\tcountry\tplatform\tfiles.rawReads\tfiles.alignment\n",
                     "sequences.fasta": ""}  # fmt: skip


def test_sequences_are_named_after_entries_where_that_is_enough(house: House, mine: int) -> None:
    for own in ("x", "y"):
        released(house, mine, submission_id=own, submitted_sequences={own: "ACGT"})
    files = _archive(house, mine)
    assert "fastaIds" not in files["metadata.tsv"]
    assert files["sequences.fasta"] == ">x\nACGT\n>y\nACGT\n"


def test_ids_that_several_entries_share_get_numbers(house: House, mine: int) -> None:
    for number, own in enumerate(["sample", "sample", "sample_1", "sample"]):
        released(house, mine, submission_id=own, submitted_sequences={own: "ACGT"[: number + 1]})
    files = _archive(house, mine)
    assert [row["id"] for row in _table(files)] == ["sample", "sample_2", "sample_1", "sample_3"]
    assert files["sequences.fasta"] == ">sample\nA\n>sample_2\nAC\n>sample_1\nACG\n>sample_3\nACGT\n"


def test_segments_that_share_names_get_numbers(house: House, mine: int) -> None:
    for own in ("x", "y"):
        released(house, mine, submission_id=own, submitted_sequences={"L": "AA", "S": "CC"})
    files = _archive(house, mine)
    assert [row["fastaIds"] for row in _table(files)] == ["L S", "L_1 S_1"]


def test_an_organism_without_sequences(house: House, mine: int) -> None:
    released(house, mine)
    reads = {"rawReads": FileCategory()}
    ruled = with_organism(house, submission=Submission(consensus_sequences="forbidden", files=reads))
    assert set(_archive(ruled, mine)) == {"metadata.tsv"}


def test_accessions_narrow_and_unknown_ones_are_left_out(house: House, mine: int) -> None:
    first, _ = released(house, mine), released(house, mine)
    chosen = [first.accession, "123"]
    assert [row["accession"] for row in _table(_archive(house, mine, accessions=chosen))] == [first.accession]
    assert _table(_archive(house, mine, accessions=[])) == []


def test_too_many(house: House, mine: int, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [released(house, mine) for _ in range(3)]
    monkeypatch.setattr("readvault.services.submission.submitted_data.MAX_ENTRIES", 2)
    with pytest.raises(Unprocessable, match="of 3 entries were asked for; one request may ask for 2"):
        _archive(house, mine)
    assert len(_table(_archive(house, mine, accessions=[name.accession for name in names[:2]]))) == 2
    with pytest.raises(Unprocessable):
        _archive(house, mine, accessions=[name.accession for name in names])


def test_who_may_have_it(house: House, mine: int) -> None:
    released(house, mine)
    for actor, error in ((None, Unauthenticated), (BOB, Forbidden)):
        with pytest.raises(error):
            _archive(house, mine, actor=actor)
    with pytest.raises(NotFound):
        _archive(house, 77)
    assert len(_table(_archive(house, mine, actor=MAINTAINER))) == 1


def test_a_revision_of_the_archive_unchanged_changes_nothing(house: House, mine: int) -> None:
    """Whatever stands in a cell: quotes, tabs, line ends, formulas, other alphabets."""
    nasty = {
        "country": 'Côte d\'Ivoire "quoted" \ttab', "note": "line\none\r\ntwo\rthree", "formula": "=1+1",
        "html": "<script>alert(1)</script>", "rtl": "\u202eevil", "quote": '"', "empty": "", "hash": "#",
    }  # fmt: skip
    names = [
        released(house, mine, submission_id="same", submitted_metadata={**METADATA, **nasty},
                 submitted_sequences={"same": "ACGTN", "other": "acgt"}, files=(b"one", b"two")),
        released(house, mine, submission_id="same", submitted_metadata={**METADATA, **nasty}, submitted_sequences={}),
        released(house, mine, submission_id="third", submitted_metadata={**METADATA, **nasty},
                 submitted_sequences={"third": "AC"}, files=()),
    ]  # fmt: skip
    files = _archive(house, mine)
    revise(
        house, ALICE, ORGANISM, metadata=files["metadata.tsv"].encode(), metadata_name="metadata.tsv",
        sequences=files["sequences.fasta"].encode(), sequences_name="sequences.fasta",
    )  # fmt: skip
    for name in names:
        second = AccessionVersion(name.accession, 2)
        assert version(house, second).submitted_metadata == version(house, name).submitted_metadata
        old, new = version(house, name).submitted_sequences, version(house, second).submitted_sequences
        assert list(new.values()) == list(old.values())
        assert files_of(house, second) == files_of(house, name)


CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20).map(str.strip)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(values=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=4))
def test_any_cell_is_read_as_it_was_written(house: House, values: list[tuple[str, str]]) -> None:
    rows = [["s", "LOC", one, two] for one, two in values]
    lines = metadata_file._lines("".join(tsv.line(row) for row in [["id", "accession", "a", "b"], *rows]))
    assert [cells for _, cells in lines][1:] == rows


# The stream of metadata


def _listed(house: House, actor: Any = ALICE, **wanted: Any) -> list[dict[str, Any]]:
    return list(submitted_metadata(house, actor, ORGANISM, Wanted(**wanted)))


def test_metadata_are_told_in_order_with_status(house: House, mine: int) -> None:
    names = [
        entry(house, mine, submitted_metadata={"n": "0"})[0],
        processed(house, mine, submitted_metadata={"n": "1"})[0],
        released(house, mine, submitted_metadata={"n": "2"}),
    ]
    running, job_id = entry(house, mine, submitted_metadata={"n": "3"})
    claimed(house, job_id)
    revoke(house, ALICE, ORGANISM, accessions=[names[2].accession])
    lines = _listed(house)
    assert lines[0] == {
        "accession": names[0].accession, "version": 1, "submitter": "alice", "isRevocation": False,
        "status": "RECEIVED", "submittedMetadata": {"n": "0"},
    }  # fmt: skip
    told = [(line["accession"], line["version"], line["status"], line["isRevocation"]) for line in lines]
    assert told == [
        (names[0].accession, 1, "RECEIVED", False),
        (names[1].accession, 1, "PROCESSED", False),
        (names[2].accession, 1, "APPROVED_FOR_RELEASE", False),
        (names[2].accession, 2, "PROCESSED", True),
        (running.accession, 1, "IN_PROCESSING", False),
    ]
    assert lines[3]["submittedMetadata"] == {}


def test_only_some_fields(house: House, mine: int) -> None:
    entry(house, mine, submitted_metadata={"a": "1", "b": "2"})
    assert _listed(house, fields=["b", "c"])[0]["submittedMetadata"] == {"b": "2", "c": None}


def test_filters(house: House, mine: int) -> None:
    other = group(house, "alice")
    here, _ = entry(house, mine)
    there = released(house, other)
    entry(house, group(house, "bob"))
    entry(house, mine, organism="other")

    def accessions(**wanted: Any) -> list[str]:
        return [line["accession"] for line in _listed(house, **wanted)]

    assert accessions() == [here.accession, there.accession]
    assert accessions(group_ids=[other]) == [there.accession]
    assert accessions(statuses=[Status.RECEIVED]) == [here.accession]
    assert accessions(accession_versions=[str(there), f"{here.accession}.2"]) == [there.accession]
    assert accessions(accession_versions=[]) == []
    with pytest.raises(Unprocessable, match="no accession version"):
        _listed(house, accession_versions=["nonsense"])
    with pytest.raises(Forbidden):
        _listed(house, BOB, group_ids=[mine])
    with pytest.raises(Unauthenticated):
        _listed(house, None)
    assert len(_listed(house, MAINTAINER)) == 3


def test_pages_hang_together(house: House, mine: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert PAGE > 2
    monkeypatch.setattr("readvault.services.submission.submitted_metadata.PAGE", 2)
    names = [entry(house, mine)[0] for _ in range(5)]
    assert [line["accession"] for line in _listed(house)] == [name.accession for name in names]
