"""Batches over HTTP: the list, the table in three formats, sending back."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from fastapi.testclient import TestClient

from readvault.services.house import House
from readvault.services.review.batches import COLUMNS
from tests.houses import ALICE, BOB
from tests.integration.api.problems import assert_problem
from tests.integration.services import scenes

BATCHES = "/sars-cov-2/batches"


def _wire(name: Any, digest: str | None = None) -> dict[str, Any]:
    return {"accession": name.accession, "version": name.version, "manifestDigest": digest}


def test_a_plate_is_found_looked_at_and_decided_on(api: TestClient, headers: Any, house: House) -> None:
    mine = scenes.group(house, "alice")
    plate = [scenes.processed(house, mine, files=(), batch_id="plate") for _ in range(6)]
    (listed,) = api.get(BATCHES, headers=headers(ALICE)).json()["batches"]
    assert (listed["batchId"], listed["entries"], listed["statusCounts"]["PROCESSED"]) == ("plate", 6, 6)
    rows = api.get(f"{BATCHES}/plate", headers=headers(ALICE)).json()["rows"]
    assert [(row["accession"], row["manifestDigest"]) for row in rows] == [(n.accession, d) for n, d in plate]
    good = [_wire(name, digest) for name, digest in plate[:4]]
    bad = [_wire(name, digest) for name, digest in plate[4:]]
    sent = api.post(
        f"{BATCHES}/plate/send-back", json={"accessionVersions": bad, "reason": "swapped"}, headers=headers(ALICE)
    )
    assert sent.json() == [{"accession": name.accession, "version": 1} for name, _ in plate[4:]]
    body = {"scope": "ALL", "accessionVersionsFilter": good + bad}
    refused = api.post("/sars-cov-2/approve-processed-data", json=body, headers=headers(ALICE))
    assert_problem(refused, 422, "were sent back and have not changed since")
    body["accessionVersionsFilter"] = good
    approved = api.post("/sars-cov-2/approve-processed-data", json=body, headers=headers(ALICE))
    assert len(approved.json()) == 4
    (listed,) = api.get(BATCHES, headers=headers(ALICE)).json()["batches"]
    assert (listed["statusCounts"]["APPROVED_FOR_RELEASE"], listed["sentBack"]) == (4, 2)
    shown = api.get(f"/sars-cov-2/review/{plate[5][0].accession}/1", headers=headers(ALICE)).json()
    assert (shown["sentBack"]["reason"], shown["sentBack"]["by"], shown["batchId"]) == ("swapped", "alice", "plate")


@pytest.mark.parametrize(("asked", "text"), [("tsv", "=1+1"), ("spreadsheet", "'=1+1")])
def test_the_table_as_a_file(api: TestClient, headers: Any, house: House, asked: str, text: str) -> None:
    name, digest = scenes.processed(
        house, scenes.group(house, "alice"), files=(), batch_id="plate", submission_id="=1+1"
    )
    answer = api.get(f"{BATCHES}/plate", params={"format": asked}, headers=headers(ALICE))
    assert answer.headers["content-type"] == "text/tab-separated-values; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="batch')
    assert answer.headers["x-content-type-options"] == "nosniff"
    (row,) = csv.DictReader(io.StringIO(answer.text, newline=""), delimiter="\t")
    assert tuple(row) == COLUMNS
    assert (row["submissionId"], row["accession"], row["manifestDigest"]) == (text, name.accession, digest)
    assert (row["isControl"], row["totalReads"]) == ("false", "")


def test_a_foreign_and_an_unknown_batch_are_the_same(api: TestClient, headers: Any, house: House) -> None:
    name, _ = scenes.processed(house, scenes.group(house, "alice"), batch_id="plate")
    body = {"accessionVersions": [_wire(name)], "reason": "no"}
    for path in ("", "/send-back"):
        answers = []
        for actor, batch_id in ((BOB, "plate"), (ALICE, "nothing")):
            place = f"{BATCHES}/{batch_id}{path}"
            answer = (
                api.post(place, json=body, headers=headers(actor)) if path else api.get(place, headers=headers(actor))
            )
            assert_problem(answer, 404, "There is no such batch.")
            answers.append({**answer.json(), "instance": ""})
        assert answers[0] == answers[1]


def test_malformed_requests(api: TestClient, headers: Any, house: House) -> None:
    name, _ = scenes.processed(house, scenes.group(house, "alice"), batch_id="plate")
    for params in ({"size": 0}, {"size": 1000}, {"before": "x"}, {"before": "nan"}, {"groupIdsFilter": "x"}):
        assert_problem(api.get(BATCHES, params=params, headers=headers(ALICE)), 400)
    assert_problem(api.get(f"{BATCHES}/plate", params={"format": "xlsx"}, headers=headers(ALICE)), 400)
    send = "/sars-cov-2/send-back"
    for body in ({}, {"accessionVersions": [_wire(name)]}, {"accessionVersions": [], "reason": "x"}):
        assert_problem(api.post(send, json=body, headers=headers(ALICE)), 400)
    assert_problem(
        api.post(send, json={"accessionVersions": [_wire(name)], "reason": " "}, headers=headers(ALICE)), 400
    )


def test_an_empty_filter_approves_nothing(api: TestClient, headers: Any, house: House) -> None:
    mine = scenes.group(house, "alice")
    scenes.processed(house, mine)
    for empty in ("accessionVersionsFilter", "groupIdsFilter", "submitterNamesFilter"):
        body = {"scope": "ALL", empty: []}
        answer = api.post("/sars-cov-2/approve-processed-data", json=body, headers=headers(ALICE))
        assert (answer.status_code, answer.json()) == (200, [])
    foreign = {"scope": "ALL", "accessionVersionsFilter": [], "groupIdsFilter": [mine]}
    assert_problem(api.post("/sars-cov-2/approve-processed-data", json=foreign, headers=headers(BOB)), 403)
    everything = api.post("/sars-cov-2/approve-processed-data", json={"scope": "ALL"}, headers=headers(BOB))
    assert (everything.status_code, everything.json()) == (200, [])
