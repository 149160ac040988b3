"""A compared result beside the one it would replace: files are read from the store, and what is damaged is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlmodel import col, select

from readvault.cli.admin_difference import told
from readvault.db.tables import FixityCheck, ManifestFile, StoredObject
from readvault.domain.errors import Forbidden, NotFound, Unauthenticated
from readvault.domain.identifiers import AccessionVersion
from readvault.services.house import House
from readvault.services.reprocessing import difference as differences
from readvault.services.reprocessing.difference import difference
from tests.fakes import MemoryStore
from tests.houses import ALICE, MAINTAINER
from tests.integration.services import compared, scenes
from tests.integration.services.scenes import WARNING


@pytest.fixture
def waiting(house: House) -> tuple[AccessionVersion, int]:
    name = compared.released(house, scenes.group(house, "alice"))
    return name, compared.processed_again(house, name, warnings=(WARNING,), droppedAmplicons="7")


def _key(house: House, category: str, pipeline_version: int) -> str:
    """Where a file of a result lies; results come in the order of their pipeline versions."""
    query = select(StoredObject.key).join(ManifestFile).where(ManifestFile.category == category)
    query = query.where(~col(ManifestFile.name).endswith(".tbi")).order_by(col(ManifestFile.manifest_id))
    with house.sessions.read() as session:
        rows = session.exec(query).all()
    return rows[pipeline_version - 1]


def test_all_that_differs_is_told(house: House, waiting: tuple[AccessionVersion, int]) -> None:
    found = difference(house, MAINTAINER, waiting[1])
    assert (found.name, found.state) == (waiting[0], "waits")
    assert (found.old.pipeline_version, found.new.pipeline_version) == (1, 2)
    assert [each["figure"] for each in found.findings] == ["breadthOfCoverage"]
    what = found.difference
    assert what.segments is not None
    [segment] = what.segments
    assert segment.on_reference
    assert [(str(each.kind), each.start, each.end) for each in segment.changes] == [
        ("substitution", 9, 9),
        ("now unknown", 18, 20),
    ]
    assert what.variants is not None
    assert [each.position for each in what.variants.added] == [12]
    assert [each.position for each in what.variants.lost] == [5]
    assert [each.position for each in what.variants.changed] == [9]
    assert {(each.name, each.is_same) for each in what.figures} == {
        ("breadthOfCoverage", False),
        ("depthOfCoverage", True),
        ("droppedAmplicons", False),
    }
    assert [each["message"] for each in what.warnings.added] == [WARNING.message]
    assert {(each.name, each.is_same) for each in what.files} == {
        ("consensus.fasta", False),
        ("variants.vcf.gz", False),
        ("variants.vcf.gz.tbi", True),
    }
    assert (what.segments_problem, what.variants_problem) == (None, None)


def test_the_command_line_tells_it_line_by_line(house: House) -> None:
    name = compared.released(house, scenes.group(house, "alice"))
    number = compared.processed_again(house, name, warnings=(WARNING,), lineage="\x1b[31mred\nline")
    lines = list(told(difference(house, MAINTAINER, number)))
    assert lines == [
        f"{name} (sars-cov-2): pipeline version 1 → 2, waits",
        "worse\tbreadthOfCoverage\t0.98\t0.6",
        "figure\tbreadthOfCoverage\t0.98\t0.6",
        "figure\tlineage\t-\t�[31mred line",
        f"warning\tnew\t{WARNING.message}",
        "consensus\tmain\t20\t20\t1 substitution, 1 now unknown (reference)",
        "consensus\tmain\t9\tsubstitution\tG\tR",
        "consensus\tmain\t18-20\tnow unknown\tGCA\tNNN",
        "variants\t3 → 3",
        "variant\tnew\tmain\t12\tC>CAA\t-\t1.000 PASS",
        "variant\tgone\tmain\t5\tT>C\t0.400 PASS\t-",
        "variant\tchanged\tmain\t9\tG>A\t0.500 PASS\t0.750 PASS",
        "file\tconsensus\tconsensus.fasta\t35\t35",
        *[line for line in lines if "variants.vcf.gz" in line],
    ]


@pytest.mark.parametrize("how", ["gone", "other bytes"])
def test_a_damaged_file_is_told_and_noted_and_the_rest_is_there(
    house: House, store: MemoryStore, waiting: tuple[AccessionVersion, int], how: str
) -> None:
    key = _key(house, "consensus", 2)
    [(version_id, content)] = store.versions[key]
    store.versions[key] = [] if how == "gone" else [(version_id, b"x" * len(content))]
    for _ in range(2):  # when it is found, and when it is known
        what = difference(house, MAINTAINER, waiting[1]).difference
        assert what.segments is None
        assert what.segments_problem == (
            "The consensus file of the newer result can't be compared: "
            "its stored bytes are damaged, and are being restored."
        )
        assert what.variants is not None
    with house.sessions.read() as session:
        assert session.get_one(FixityCheck, key).damage == ("missing" if how == "gone" else "other bytes")


def test_a_storage_out_of_reach_is_told(
    house: House, store: MemoryStore, waiting: tuple[AccessionVersion, int]
) -> None:
    store.down = True
    what = difference(house, MAINTAINER, waiting[1]).difference
    assert "out of reach" in (what.segments_problem or "")
    assert "out of reach" in (what.variants_problem or "")
    assert what.figures


def test_files_are_read_within_bounds(
    house: House, waiting: tuple[AccessionVersion, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(differences, "MOST_BYTES_OF_CONSENSUS", 10)
    monkeypatch.setattr(differences, "MOST_BYTES_UNPACKED", 10)
    what = difference(house, MAINTAINER, waiting[1]).difference
    assert "at most 10 are read here" in (what.segments_problem or "")
    assert "unpacks to more than 10 bytes" in (what.variants_problem or "")


def test_what_is_no_vcf_or_for_the_group_only_is_told(house: House) -> None:
    name = compared.released(house, scenes.group(house, "alice"))
    number = compared.processed_again(house, name, variants=b"\x1f\x8bnonsense", withheld=("consensus",))
    what = difference(house, MAINTAINER, number).difference
    assert what.variants_problem == "The variants file of the newer result can't be compared: it can't be unpacked."
    assert "for the group only" in (what.segments_problem or "")


def test_only_maintainers_compare(house: House, waiting: tuple[AccessionVersion, int]) -> None:
    with pytest.raises(Forbidden):
        difference(house, ALICE, waiting[1])
    with pytest.raises(Unauthenticated):
        difference(house, None, waiting[1])
    with pytest.raises(Forbidden):
        difference(house, replace(MAINTAINER, scopes=frozenset({"review"})), waiting[1])
    with pytest.raises(NotFound):
        difference(house, MAINTAINER, 99)
