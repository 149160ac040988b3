"""The lines that SILO is fed with: what Loculus has in them, from whatever holds now."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import select

from readvault.config import DataUseTermsUrls
from readvault.db import clock
from readvault.db.tables import DataUseTerms, ExternalMetadata, Group
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.domain.organism import MetadataType
from readvault.domain.organism.organism import ExternalMetadataField
from readvault.domain.processed_data import Shape
from readvault.domain.reads import PROCESSED_FIELDS
from readvault.services.entries.released_state import released_etag
from readvault.services.house import House
from readvault.services.release.interventions import intervene
from readvault.services.release.released_data import released_data
from readvault.services.review.approval import Scope, approve
from readvault.services.submission.revocation import revoke
from tests.houses import ALICE, MAINTAINER
from tests.integration.services.published import make_current, processed_again, released
from tests.integration.services.scenes import ORGANISM, group, processed

SHAPE = Shape({"main": frozenset({20}), "second": frozenset({30})}, {"S": frozenset({10})})
TODAY = re.compile(r"\d{4}-\d\d-\d\d")


def _lines(house: House, shape: Shape | None = None) -> dict[str, dict[str, Any]]:
    return {line["metadata"]["accessionVersion"]: line for line in released_data(house, ORGANISM, shape)}


def _metadata(house: House) -> dict[str, dict[str, Any]]:
    return {name: line["metadata"] for name, line in _lines(house).items()}


def _with_terms(house: House, **urls: str) -> House:
    changes = {"data_use_terms": True, "data_use_terms_urls": DataUseTermsUrls(**urls)}
    return replace(house, settings=house.settings.model_copy(update=changes))


def test_nothing_released_is_no_line(house: House) -> None:
    processed(house, group(house, "alice"))
    assert list(released_data(house, ORGANISM)) == []


def test_a_line_has_exactly_loculuss_parts_and_every_segment_and_gene(house: House) -> None:
    name, _ = released(house, group(house, "alice"))
    line = _lines(house, SHAPE)[str(name)]
    del line["metadata"]
    assert line == {
        "unalignedNucleotideSequences": {"main": "ACGT", "second": None},
        "alignedNucleotideSequences": {"main": None, "second": None},
        "nucleotideInsertions": {"main": [], "second": []},
        "alignedAminoAcidSequences": {"S": None},
        "aminoAcidInsertions": {"S": []},
    }


def test_metadata_are_what_was_found_and_what_loculus_adds(house: House) -> None:
    group_id = group(house, "alice")
    name, _ = released(house, group_id)
    with house.sessions.begin() as session:
        session.get_one(Group, group_id).name = "A new name"
    metadata = _metadata(_with_terms(house))[str(name)]
    today = metadata["releasedDate"]
    assert TODAY.fullmatch(today)
    assert {key: metadata[key] for key in metadata if not key.endswith("Timestamp")} == {
        "date": "2020-01-01",
        "country": None,
        **dict.fromkeys(PROCESSED_FIELDS),
        "accession": name.accession,
        "version": 1,
        "submissionId": f"sample-{name}",
        "accessionVersion": str(name),
        "isRevocation": False,
        "submitter": "alice",
        "groupId": group_id,
        "groupName": "A new name",
        "submittedDate": today,
        "releasedDate": today,
        "versionStatus": "LATEST_VERSION",
        "pipelineVersion": 1,
        "dataUseTerms": "OPEN",
        "dataUseTermsRestrictedUntil": None,
        "dataBecameOpenAt": today,
        **dict.fromkeys(
            ("dehumanizedReads", "alignment", "variants", "alleleCounts", "coverage", "report", "siloReads")
        ),
        "consensus": metadata["consensus"],
    }
    (file,) = json.loads(metadata["consensus"])
    assert set(file) == {"fileId", "name", "url"}


def test_a_revocation_is_there_and_mostly_null(house: House) -> None:
    name, _ = released(house, group(house, "alice"))
    revoke(house, ALICE, ORGANISM, accessions=[name.accession], comment="it was another sample")
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    lines = _lines(house, SHAPE)
    assert lines[str(name)]["metadata"]["versionStatus"] == "REVOKED"
    assert "versionComment" not in lines[str(name)]["metadata"]
    line = lines[f"{name.accession}.2"]
    metadata = line.pop("metadata")
    assert (metadata["isRevocation"], metadata["versionStatus"]) == (True, "LATEST_VERSION")
    assert metadata["versionComment"] == "it was another sample"
    assert [metadata[key] for key in ("date", "totalReads", "consensus", "alignment")] == [None] * 4
    assert line["unalignedNucleotideSequences"] == {"main": None, "second": None}
    assert line["aminoAcidInsertions"] == {"S": []}


def test_terms_are_those_of_now_with_their_page(house: House) -> None:
    asked = _with_terms(house, open="https://example.org/open", restricted="https://example.org/restricted")
    name, _ = released(asked, group(house, "alice"), terms_type="RESTRICTED", restricted_until="9999-01-01")
    metadata = _metadata(asked)[str(name)]
    assert (metadata["dataUseTerms"], metadata["dataUseTermsRestrictedUntil"]) == ("RESTRICTED", "9999-01-01")
    assert (metadata["dataBecameOpenAt"], metadata["dataUseTermsUrl"]) == (None, "https://example.org/restricted")
    with house.sessions.begin() as session:
        at = clock.read(session) - 40 * 86400
        session.add(DataUseTerms(accession=name.accession, terms_type="OPEN", user_name="alice", changed_at=at))
    metadata = _metadata(asked)[str(name)]
    assert (metadata["dataUseTerms"], metadata["dataUseTermsUrl"]) == ("OPEN", "https://example.org/open")
    assert TODAY.fullmatch(metadata["dataBecameOpenAt"])
    assert metadata["dataBecameOpenAt"] < metadata["releasedDate"]
    assert not [key for key in _metadata(house)[str(name)] if key.startswith("dataUseTerms")]


def test_external_metadata_are_among_the_rest_and_null_before(house: House) -> None:
    field = ExternalMetadataField(external_metadata_updater="ena", name="insdcAccession", type=MetadataType.STRING)
    knows = house.organisms[ORGANISM].model_copy(update={"external_metadata": (field,)})
    house = replace(house, organisms={ORGANISM: knows})
    group_id = group(house, "alice")
    (deposited, _), (other, _) = released(house, group_id), released(house, group_id)
    with house.sessions.begin() as session:
        session.add(
            ExternalMetadata(accession=deposited.accession, version=1, updater="ena",
                             content={"insdcAccession": "OX1"}, updated_at=clock.read(session))
        )  # fmt: skip
    metadata = _metadata(house)
    assert metadata[str(deposited)]["insdcAccession"] == "OX1"
    assert metadata[str(other)]["insdcAccession"] is None


def test_the_result_that_was_published_last_counts(house: House) -> None:
    name, _ = released(house, group(house, "alice"))
    second = processed_again(house, name, b">main\nTTTT\n")
    assert _metadata(house)[str(name)]["pipelineVersion"] == 1
    make_current(house, name, second)
    assert _metadata(house)[str(name)]["pipelineVersion"] == 2


def test_what_a_maintainer_took_out_is_out_and_the_version_before_it_is_the_latest(house: House) -> None:
    group_id = group(house, "alice")
    for version in (1, 2):
        released(house, group_id, accession="LOC_A", version=version, files=())
    released(house, group_id, accession="LOC_B", files=())
    before = released_etag(house, ORGANISM)
    intervene(house, MAINTAINER, AccessionVersion("LOC_A", 2), Step.WITHDRAW, "a mix-up")
    intervene(house, MAINTAINER, AccessionVersion("LOC_B", 1), Step.SUPPRESS, "looked at again")
    assert released_etag(house, ORGANISM) != before
    assert {name: each["versionStatus"] for name, each in _metadata(house).items()} == {"LOC_A.1": "LATEST_VERSION"}
    intervene(house, MAINTAINER, AccessionVersion("LOC_A", 2), Step.RESTORE, "it was none")
    assert _metadata(house)["LOC_A.1"]["versionStatus"] == "REVISED"


@pytest.mark.parametrize(("chosen", "place"), [("get", "/files/get/{}/1/"), ("stable", "/files/released/{}/1/1/")])
def test_the_kind_of_urls_is_the_instances_choice(house: House, chosen: str, place: str) -> None:
    name, _ = released(house, group(house, "alice"))
    house = replace(house, settings=house.settings.model_copy(update={"released_file_urls": chosen}))
    (file,) = json.loads(_metadata(house)[str(name)]["consensus"])
    assert file["url"] == f"http://127.0.0.1:8079{place.format(name.accession)}consensus/consensus.fasta"


def test_the_state_changes_with_one_organism_only(house: House) -> None:
    before = released_etag(house, "rsv-b")
    released(house, group(house, "alice"))
    assert released_etag(house, "rsv-b") == before
    with house.sessions.read() as session:
        assert len(session.exec(select(Group)).all()) == 1
