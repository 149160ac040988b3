"""docs/api.md names every route, and its examples work as they are written."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlmodel import select

from readvault.db.tables import Job
from readvault.ports import SignedRequest
from readvault.services.house import House
from readvault.services.people import accounts
from readvault.services.processing import jobs
from tests.integration.services import scenes

if TYPE_CHECKING:
    import httpx
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
READS = b"@r\nACGT\n+\nIIII\n"
UNLISTED = {"/api-docs"}
"""What describes the routes isn't described itself."""
_ASSIGNED = re.compile(r"^([A-Z]+)=\$\((curl .*?) \| jq -r (\S+)\)$")
_FLAGS_WITH_VALUE = ("-H", "-d", "-F", "--json", "--data-urlencode", "-X")


def paths(app: FastAPI) -> set[str]:
    found = {path for path in app.openapi()["paths"] if not path.startswith("/web")}
    assert len(found) > 30
    return found


def test_every_route_is_on_the_page(app: FastAPI) -> None:
    documented = set(re.findall(r"(?<=[`/ ])(/[A-Za-z{][^`\s?]*|/)(?=[`?])", PAGE))
    assert sorted(paths(app) - documented) == []


def test_the_page_names_no_route_that_is_not_there(app: FastAPI) -> None:
    named = set(re.findall(r"`(?:GET|POST|PUT|DELETE|HEAD) (/[^`\s?]*)`", PAGE))
    assert sorted(named - paths(app) - UNLISTED) == []


class Shell:
    """As much of a shell, curl and jq as the page uses."""

    def __init__(self, api: TestClient, files: dict[str, bytes]) -> None:
        self.variables: dict[str, str] = {"API": ""}
        self._api = api
        self.files = files

    def run(self, line: str) -> httpx.Response:
        """Run one line; its answer must be a good one."""
        assigned = _ASSIGNED.match(line)
        answer = self._curl(assigned[2] if assigned else line)
        assert answer.is_success, f"{line}\n{answer.status_code} {answer.text}"
        if assigned:
            value: Any = answer.json()
            for index, name in re.findall(r"\[(\d+)\]|\.(\w+)", assigned[3]):
                value = value[int(index)] if index else value[name]
            assert isinstance(value, str | int)
            self.variables[assigned[1]] = str(value)
        return answer

    def _curl(self, command: str) -> httpx.Response:
        filled = re.sub(r"\$([A-Z]+)", lambda match: self.variables[match[1]], command)
        words = iter(shlex.split(filled)[1:])
        url, headers, form, files, body = "", {}, {}, {}, None
        for word in words:
            if word not in _FLAGS_WITH_VALUE:
                url = url if word.startswith("-") else word
                continue
            value = next(words)
            name, _, text = value.partition("=")
            if word == "-H":
                header, _, content = value.partition(": ")
                headers[header] = content
            elif word == "--json":
                body = json.loads(value)
            elif word == "-F" and text.startswith("@"):
                files[name] = (text[1:], self.files[text[1:]])
            else:
                form[name] = text
        method = "POST" if form or files or body is not None else "GET"
        return self._api.request(method, url, headers=headers, data=form or None, files=files or None, json=body)


def test_the_examples_bring_an_entry_from_upload_to_release(api: TestClient, house: House, store: Any) -> None:
    accounts.create_account(house, "alice", "a good password")
    shell = Shell(api, {})
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if re.match(r"curl |[A-Z]+=", line)]
    assert len(lines) >= 10
    for line in lines:
        answer = shell.run(line)
        if line.startswith("FILE="):
            _upload(shell, store, answer.json())
        if line.startswith("ACCESSION="):
            _process(house)
    assert shell.variables["ACCESSION"] in api.get("/sars-cov-2/get-released-data").text


def _upload(shell: Shell, store: Any, tickets: list[dict[str, Any]]) -> None:
    """What the reader does between the lines: sends the file, and writes the metadata file."""
    (ticket,) = tickets
    store.put(SignedRequest(ticket["put"]["url"], ticket["put"]["headers"]), READS)
    metadata = f"id\tdate\tplatform\tfiles\nsample-1\t2024-05-06\tILLUMINA\treads.fastq:{ticket['fileId']}\n"
    shell.files |= {"metadata.tsv": metadata.encode(), "sequences.fasta": b">sample-1\nACGT\n"}


def _process(house: House) -> None:
    with house.sessions.read() as session:
        (job,) = session.exec(select(Job)).all()
    claim = scenes.claimed(house, job.id)
    jobs.register(house, claim, scenes.result(house, claim))


@pytest.mark.parametrize("text", ["Idempotency-Key", "problem+json", "x-request-id"])
def test_what_holds_everywhere_is_told(text: str) -> None:
    assert text in PAGE
