"""Manifests and lasting downloads over HTTP: exact bytes, headers, what may be cached and what may be asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from readvault.domain.interventions import Step
from readvault.services.house import House
from readvault.services.release.interventions import intervene
from tests.houses import ALICE, MAINTAINER
from tests.integration.api.problems import assert_problem
from tests.integration.services.published import released
from tests.integration.services.scenes import ORGANISM, group

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

Headers = Callable[[Any], dict[str, str]]


def test_a_manifest_is_sent_in_the_bytes_that_were_approved(api: TestClient, house: House) -> None:
    name, digest = released(house, group(house, "alice"))
    path = f"/{ORGANISM}/manifest/{name.accession}/1"
    response = api.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert hashlib.sha256(response.content).hexdigest() == response.headers["x-manifest-digest"] == digest
    assert (response.headers["etag"], response.headers["x-pipeline-version"]) == (f'"{digest}"', "1")
    again = api.get(path, headers={"If-None-Match": f'"other", "{digest}"'})
    assert (again.status_code, again.content) == (304, b"")
    assert api.get(path, params={"pipelineVersion": 1}).content == response.content
    assert_problem(api.get(path, params={"pipelineVersion": 2}), 404, "There is no such manifest.")
    assert api.get(path, params={"pipelineVersion": "x"}).status_code == 400


def test_the_private_document_has_the_digest_that_stands_in_the_manifest(
    api: TestClient, house: House, headers: Headers
) -> None:
    name, _ = released(house, group(house, "alice"))
    path = f"/{ORGANISM}/manifest/{name.accession}/1"
    own = api.get(f"{path}/private", headers=headers(ALICE))
    assert hashlib.sha256(own.content).hexdigest() == api.get(path).json()["privateSha256"]
    assert api.get(f"{path}/private").status_code == 401


def test_a_lasting_download_is_a_redirect_and_its_url_is_in_the_list(api: TestClient, house: House) -> None:
    name, _ = released(house, group(house, "alice"))
    (entry,) = api.get(f"/{ORGANISM}/manifests", params={"accession": name.accession}).json()
    url = entry["files"][0]["url"]
    assert url.startswith(house.settings.public_url)
    for method in ("GET", "HEAD"):
        response = api.request(method, url.removeprefix(house.settings.public_url))
        assert response.status_code == 307
        assert response.headers["location"].endswith(f"method={method}")
        assert response.headers["cache-control"] == "no-store"


def test_what_was_withdrawn_is_gone_over_http(api: TestClient, house: House) -> None:
    name, _ = released(house, group(house, "alice"))
    intervene(house, MAINTAINER, name, Step.WITHDRAW, "a mix-up of samples")
    for path in (
        f"/files/get/{name.accession}/1/consensus/consensus.fasta",
        f"/files/released/{name.accession}/1/1/consensus/consensus.fasta",
        f"/{ORGANISM}/manifest/{name.accession}/1",
        f"/{ORGANISM}/manifests/{name.accession}/1",
    ):
        assert_problem(api.get(path), 410, f"{name} was withdrawn: a mix-up of samples")
    assert api.get(f"/{ORGANISM}/manifests").json() == []


def test_files_are_listed_as_a_table_for_machines_or_spreadsheets(api: TestClient, house: House) -> None:
    name, _ = released(house, group(house, "alice"), submission_id="=1+1")
    asked = {"format": "tsv", "fields": "submissionId", "fileCategory": "consensus"}
    response = api.get(f"/{ORGANISM}/manifests", params=asked)
    assert response.headers["content-type"].startswith("text/tab-separated-values")
    assert response.headers["content-disposition"] == 'attachment; filename="files.tsv"'
    header, line = response.text.splitlines()
    row = dict(zip(header.split("\t"), line.split("\t"), strict=True))
    assert (row["accession"], row["name"], row["submissionId"]) == (name.accession, "consensus.fasta", "=1+1")
    safe = api.get(f"/{ORGANISM}/manifests", params={**asked, "spreadsheet": "true"})
    assert safe.text.splitlines()[1].endswith("'=1+1")


def test_a_question_about_no_field_is_a_bad_request(api: TestClient) -> None:
    for asked in ({"patientName": "x"}, {"format": "tsv", "fields": "patientName"}):
        text = "'patientName' is not a field of the released entries."
        assert_problem(api.get(f"/{ORGANISM}/manifests", params=asked), 400, text)
    assert api.get(f"/{ORGANISM}/manifests", params={"format": "xml"}).status_code == 400
    assert api.get("/ebola/manifests").status_code == 400
