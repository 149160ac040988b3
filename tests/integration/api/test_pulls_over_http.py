"""Pulls over HTTP: credentials go in and come out nowhere, not in answers, logs, rows or what Prefect gets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import SQLModel
from typer.testing import CliRunner

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api.app import create_app
from readvault.cli import admin_pulls
from readvault.cli.admin import admin_app
from readvault.domain.errors import Conflict
from readvault.services.house import House
from readvault.services.pulls import ranges
from tests import transactions
from tests.foreign import HOST, Authority
from tests.houses import ALICE, BOB, MAINTAINER, group_of
from tests.integration.services.pull_scenes import Lab, lab

CANARY = "canary-9c1f"
BODY = b"@r\nACGT\n+\nIIII\n"
ADDRESS = "https://s3.amazonaws.com"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def scene(house: House, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setattr(ranges, "PAUSES", ())
    with lab(house, authority, group_of(house, ALICE)) as made:
        made.shop.objects["/b/reads.fastq"] = BODY
        yield made


@pytest.fixture
def api(scene: Lab, issuer: EmbeddedIssuer) -> Iterator[TestClient]:
    with TestClient(create_app(scene.house, Identity(issuer)), raise_server_exceptions=False) as client:
        yield client


def bucket(**changes: Any) -> dict[str, Any]:
    keys = {"accessKey": f"AKIA{CANARY}", "secretKey": f"{CANARY}-secret", "sessionToken": f"{CANARY}-token"}
    return {"name": "lab-reads", "region": "eu-central-1", "prefix": "x/", **keys, **changes}


def rows(house: House) -> str:
    """Every row of every table, as text."""
    with house.sessions.read() as session:
        tables = SQLModel.metadata.sorted_tables
        return "\n".join(str(row) for table in tables for row in session.execute(table.select()).all())


def test_a_pull_from_its_request_to_its_file_ids(api: TestClient, headers: Any, scene: Lab) -> None:
    url = {"url": scene.url("/b/reads.fastq"), "category": "rawReads"}
    asked = api.post("/pulls", json={"groupId": scene.group_id, "urls": [url]}, headers=headers(ALICE))
    assert asked.status_code == 200, asked.text
    pull = asked.json()
    assert (pull["state"], pull["challenge"], pull["cells"]) == ("open", None, {})
    assert [source["place"] for source in pull["sources"]] == [scene.url("/b/reads.fastq", "")]
    scene.work()
    done = api.get(f"/pulls/{pull['id']}", headers=headers(ALICE)).json()
    (source,) = done["sources"]
    assert (done["state"], source["state"], source["bytesDone"]) == ("done", "done", len(BODY))
    assert done["cells"] == {"rawReads": f"reads.fastq:{source['fileId']}"}
    state = api.get(f"/files/{source['fileId']}", headers=headers(ALICE)).json()
    assert (state["state"], state["declaredSha256"]) == ("uploaded", source["sha256"])
    listed = api.get("/pulls", params={"groupId": scene.group_id}, headers=headers(ALICE)).json()
    assert [each["id"] for each in listed["pulls"]] == [pull["id"]]
    assert api.delete(f"/pulls/{pull['id']}", headers=headers(ALICE)).json()["state"] == "done"


def test_files_that_stay_are_listed_and_their_keys_renewed(api: TestClient, headers: Any, scene: Lab) -> None:
    keys = {"accessKey": f"AKIA{CANARY}", "secretKey": f"{CANARY}-secret"}
    where = {"endpoint": f"https://{HOST}:{scene.port}", "region": "x"}
    body = {"groupId": scene.group_id, "keep": "reference"}
    named = {"name": "lab", **where, **keys, "keys": [{"key": "reads.fastq", "category": "rawReads"}]}
    refused = api.post("/pulls", json={**body, "bucket": named}, headers=headers(ALICE))
    assert (refused.status_code, "keeps a copy" in refused.json()["detail"]) == (400, True)
    scene.house.settings.pulls.references = True
    scene.shop.objects["/lab/reads.fastq"] = BODY
    scene.shop.keys.add(f"AKIA{CANARY}")
    asked = api.post("/pulls", json={**body, "bucket": named}, headers=headers(ALICE))
    assert asked.status_code == 200, asked.text
    scene.work()
    (source,) = api.get(f"/pulls/{asked.json()['id']}", headers=headers(ALICE)).json()["sources"]
    listed = api.get("/pulls/references", params={"groupId": scene.group_id}, headers=headers(ALICE)).json()
    (one,) = listed["references"]
    assert (one["fileId"], one["place"], one["size"]) == (source["fileId"], "reads.fastq", len(BODY))
    assert one["sha256"] == source["sha256"]
    renewed = {"groupId": scene.group_id, "bucket": "lab", **where, **keys, "secretKey": f"{CANARY}-new"}
    answer = api.put("/pulls/references/credentials", json=renewed, headers=headers(ALICE))
    assert answer.json() == {"files": 1}
    assert api.put("/pulls/references/credentials", json=renewed, headers=headers(BOB)).status_code == 403
    assert CANARY not in rows(scene.house) + asked.text + answer.text + json.dumps(listed)


def test_foreign_and_unknown_pulls_get_one_answer(api: TestClient, headers: Any, scene: Lab) -> None:
    pull_id = scene.asked("/b/reads.fastq").pull.id
    for method, path in (("GET", ""), ("POST", "/start"), ("DELETE", "")):
        foreign_one = api.request(method, f"/pulls/{pull_id}{path}", headers=headers(BOB))
        unknown = api.request(method, f"/pulls/{pull_id[::-1]}{path}", headers=headers(BOB))
        assert foreign_one.status_code == unknown.status_code == 404
        assert foreign_one.json()["detail"].replace(pull_id, "") == unknown.json()["detail"].replace(pull_id[::-1], "")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"bucket": bucket()}, 200),
        ({"bucket": bucket(name="A")}, 400),
        ({"bucket": bucket(name="Upper")}, 400),
        ({"bucket": bucket(accessKey=f"{CANARY}\r\nHost: inside")}, 400),
        ({"bucket": bucket(sessionToken=f"{CANARY}ä")}, 400),
        ({"bucket": bucket(secretKey=None)}, 400),
        ({"bucket": bucket(secretKey=[f"{CANARY}-secret"])}, 400),
        ({"bucket": bucket(endpoint=f"https://{CANARY}@169.254.169.254/")}, 400),
        ({"bucket": bucket(endpoint="http://s3.amazonaws.com")}, 400),
        ({"bucket": bucket(), "urls": [{"url": f"{ADDRESS}/b/x?X-Amz-Signature={CANARY}"}]}, 400),
        ({"urls": [{"url": f"{ADDRESS}/b/x?X-Amz-Signature={CANARY}"}]}, 200),
        ({"urls": [{"url": f"{ADDRESS}/b/?X-Amz-Signature={CANARY}"}]}, 400),
        ({"urls": [{"url": f"{ADDRESS}/b/x?X-Amz-Signature={CANARY}", "sha256": "x"}]}, 400),
        ({"urls": [{"url": {"a": CANARY}}]}, 400),
        ({"urls": [{"url": f"https://{CANARY}.example/b/x?X-Amz-Signature={CANARY}"}]}, 400),
        ({"urls": [{"url": f"{ADDRESS}/b/x?{CANARY}" + "a" * 8200}]}, 400),
        ({}, 400),
    ],
)
def test_no_answer_no_log_line_and_no_row_holds_a_credential(
    api: TestClient, headers: Any, scene: Lab, caplog: pytest.LogCaptureFixture, body: dict[str, Any], status: int
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = api.post("/pulls", json={"groupId": scene.group_id, **body}, headers=headers(ALICE))
        assert answer.status_code == status, answer.text
        if status == 200:
            path = f"/pulls/{answer.json()['id']}"
            answers = [answer, api.get(path, headers=headers(ALICE)), api.delete(path, headers=headers(ALICE))]
            told = "".join(each.text for each in answers)
        else:
            told = answer.text
    delivered = str(scene.house.orchestrator.deliveries)  # type: ignore[attr-defined]
    ours = [record for record in caplog.records if record.name.startswith(("readvault", "sqlalchemy", "httpcore"))]
    logged = "\n".join(f"{record.getMessage()} {record.exc_text or ''}" for record in ours)
    for where, text in (("answer", told), ("log", logged), ("rows", rows(scene.house)), ("Prefect", delivered)):
        assert CANARY not in text, where


def test_no_failure_of_a_pull_tells_a_credential(
    api: TestClient, headers: Any, scene: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    keys = {"accessKey": f"AKIA{CANARY}", "secretKey": f"{CANARY}-secret", "sessionToken": f"{CANARY}-token"}
    here = {"name": "lab-reads", "endpoint": scene.url("", ""), "prefix": "", **keys}
    url = {"url": scene.url("/b/reads.fastq", f"signature=wrong&X-Amz-Signature={CANARY}")}
    with caplog.at_level(logging.DEBUG):
        for body in ({"bucket": here}, {"urls": [url]}):
            asked = api.post("/pulls", json={"groupId": scene.group_id, **body}, headers=headers(ALICE))
            assert asked.status_code == 200, asked.text
            assert CANARY not in rows(scene.house)
            scene.work()
            answer = api.get(f"/pulls/{asked.json()['id']}", headers=headers(ALICE))
            (source,) = answer.json()["sources"]
            assert source["refusal"] in ("access denied", "not found")
            assert CANARY not in answer.text
    logged = "\n".join(f"{record.getMessage()} {record.exc_text or ''}" for record in caplog.records)
    assert any(CANARY in str(asked) for asked in scene.shop.asked), "nobody was asked with a credential"
    assert CANARY not in logged
    assert CANARY not in rows(scene.house)


def test_where_pulls_are_off_there_is_nothing(api: TestClient, headers: Any, scene: Lab) -> None:
    scene.house.settings.pulls.enabled = False
    body = {"groupId": scene.group_id, "urls": [{"url": scene.url("/b/reads.fastq")}]}
    answer = api.post("/pulls", json=body, headers=headers(ALICE))
    assert (answer.status_code, answer.json()["detail"]) == (404, "This instance does not pull files.")


def test_without_a_key_to_encrypt_with_nothing_is_taken(api: TestClient, headers: Any, scene: Lab) -> None:
    scene.house.settings.pulls.secret_keys = ()
    body = {"groupId": scene.group_id, "bucket": bucket()}
    assert api.post("/pulls", json=body, headers=headers(ALICE)).status_code == 404


def test_the_api_asks_nobody(api: TestClient, headers: Any, scene: Lab) -> None:
    body = {"groupId": scene.group_id, "urls": [{"url": scene.url("/b/reads.fastq", "")}]}
    pull = api.post("/pulls", json=body, headers=headers(ALICE)).json()
    assert pull["state"] == "awaits proof"
    assert api.post(f"/pulls/{pull['id']}/start", headers=headers(ALICE)).json()["state"] == "open"
    assert scene.shop.asked == []


def test_maintainers_list_and_cancel_pulls(scene: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_pulls, "open_office", lambda: scene.house)
    monkeypatch.setattr(admin_pulls, "maintainer", lambda: MAINTAINER)
    pull_id = scene.asked("/b/reads.fastq").pull.id
    (line,) = CliRunner().invoke(admin_app, ["pulls", "list"]).stdout.splitlines()
    assert line.split("\t")[0:3] == [pull_id, str(scene.group_id), "alice"]
    assert line.endswith("\topen\t0/0")
    cancel = ["pulls", "cancel", pull_id, "--reason", "too much"]
    assert CliRunner().invoke(admin_app, cancel).stdout == f"pull {pull_id} is cancelled\n"
    assert CliRunner().invoke(admin_app, ["pulls", "list"]).stdout == ""
    assert "\tcancelled\t" in CliRunner().invoke(admin_app, ["pulls", "list", "--all"]).stdout
    assert isinstance(CliRunner().invoke(admin_app, cancel).exception, Conflict)


def test_nothing_is_asked_inside_a_transaction(scene: Lab) -> None:
    """The fake S3 refuses that by itself; the submitter's store is watched here."""
    foreign = scene.house.foreign
    assert foreign is not None
    for name in ("look", "is_public", "read", "listing", "note"):
        real = getattr(foreign, name)

        def watched(*given: Any, _real: Any = real, _name: str = name, **more: Any) -> Any:
            transactions.refuse_to_wait(_name)
            return _real(*given, **more)

        setattr(foreign, name, watched)
    scene.asked("/b/reads.fastq")
    assert scene.work().files == 1


def test_the_description_shows_no_secret_as_an_answer(api: TestClient) -> None:
    shapes = api.get("/api-docs").json()["components"]["schemas"]
    for name in ("PullInfo", "PullSummary", "SourceInfo"):
        told = json.dumps(shapes[name]).lower()
        assert not any(word in told for word in ("secret", "token", "accesskey"))


def test_the_database_file_itself_holds_no_credential(
    api: TestClient, headers: Any, scene: Lab, tmp_path: Path
) -> None:
    url = scene.house.sessions.engine.url
    if url.get_backend_name() != "sqlite":
        pytest.skip("a file of SQLite's")
    body = {"groupId": scene.group_id, "bucket": bucket()}
    assert api.post("/pulls", json=body, headers=headers(ALICE)).status_code == 200
    files = list(Path(str(url.database)).parent.glob(f"{Path(str(url.database)).name}*"))
    assert files
    assert not [path.name for path in files if CANARY.encode() in path.read_bytes()]
