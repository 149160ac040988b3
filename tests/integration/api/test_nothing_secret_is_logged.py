"""Canaries in everything that people send: none of them is in a log line, whatever becomes of the request."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from fastapi.testclient import TestClient

from readvault.services.house import House
from tests.houses import ALICE, BOB, MAINTAINER, PIPELINE, group_of, tsv, upload
from tests.integration.services import scenes

CANARY = "canary-7f3a"
ORGANISM = "/sars-cov-2"


def _everything(api: TestClient, headers: Any, house: House) -> set[str]:
    """A submission from its upload to its release, and all that can go wrong; the secrets that were told on the way."""
    group_id = group_of(house, ALICE)
    (file_id,) = upload(house, ALICE, group_id, f"@{CANARY}\nACGT\n+\nIIII\n".encode())
    row = {
        "id": f"{CANARY}-sample",
        "date": "2020-01-01",
        "country": f"{CANARY}-country",
        "platform": "ILLUMINA",
        "files.rawReads": f"{CANARY}.fastq:{file_id}",
    }
    told: set[str] = {file_id}
    rows = [row, {**row, "date": f"{CANARY}-date"}, {**row, "files.rawReads": f"{CANARY}.fastq:{CANARY}"}]
    for sent in rows:
        for actor in (ALICE, BOB, MAINTAINER):
            files = {"metadataFile": (f"{CANARY}.tsv", tsv(sent))}
            api.post(f"{ORGANISM}/submit", data={"groupId": str(group_id)}, files=files, headers=headers(actor))
    name, digest = scenes.processed(house, group_id, submission_id=f"{CANARY}-processed")
    version = f"{name.accession}/{name.version}"
    for actor in (ALICE, BOB, MAINTAINER, PIPELINE):
        sent = headers(actor)
        told.add(sent["Authorization"].removeprefix("Bearer "))
        for path in ("review", "get-data-to-edit"):
            api.get(f"{ORGANISM}/{path}/{version}", headers=sent)
        told.add(api.get(f"/files/get/{version}/consensus/consensus.fasta", headers=sent).headers.get("location", "-"))
        upload_ = {"groupId": group_id, "files": [{"name": f"{CANARY}.fastq", "size": 5, "sha256": "2" * 64}]}
        for ticket in api.post("/files/request-uploads", json=upload_, headers=sent).json():
            if isinstance(ticket, dict) and ticket["put"]:
                told |= {ticket["put"]["url"], ticket["fileId"]}
        api.post("/files/request-uploads", json={"groupId": CANARY}, headers=sent)
        api.post("/user/tokens", json={"name": CANARY, "scopes": [CANARY], "expiresInDays": 1}, headers=sent)
        made = api.post("/user/tokens", json={"name": CANARY, "scopes": ["upload"], "expiresInDays": 1}, headers=sent)
        told.add(made.json().get("token", "-"))
    for path in (f"/files/{CANARY}", f"/{CANARY}/get-sequences", f"{ORGANISM}/batches/{CANARY}", f"/{CANARY}"):
        api.get(path, headers=headers(ALICE))
    form = {"grant_type": "password", "username": CANARY, "password": f"{CANARY}-password"}
    api.post("/realms/loculus/protocol/openid-connect/token", data=form)
    api.get("/user/groups", headers={"Authorization": f"Bearer {CANARY}"})
    chosen = [{**{"accession": name.accession, "version": name.version}, "manifestDigest": digest}]
    body = {"scope": "ALL", "accessionVersionsFilter": chosen}
    assert api.post(f"{ORGANISM}/approve-processed-data", json=body, headers=headers(ALICE)).status_code == 200
    api.get(f"{ORGANISM}/get-released-data")
    return told - {"-", ""}


@pytest.mark.parametrize("store_is_down", [False, True])
def test_no_log_line_holds_what_people_sent_or_were_given(
    store_is_down: bool, api: TestClient, headers: Any, house: House, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="readvault"):
        told = _everything(api, headers, house)
        if store_is_down:
            house.store.down = True  # type: ignore[attr-defined]
            body = {"groupId": 1, "files": [{"name": f"{CANARY}.fastq", "size": 5}]}
            assert api.post("/files/request-uploads", json=body, headers=headers(ALICE)).status_code == 503
    ours = [record for record in caplog.records if record.name.startswith(("readvault", "sqlalchemy", "uvicorn"))]
    lines = "\n".join(f"{record.getMessage()} {record.exc_text or ''}" for record in ours)
    assert len(told) >= 10
    assert CANARY not in lines
    assert not [secret for secret in told if secret in lines]
    assert not store_is_down or lines, "nothing was logged: the test could not fail"
