"""A container of somebody else's does what readvault leaves to it: instead of its steps, or after them."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from readvault import bootstrap, demo_organism
from readvault.client import files_cell
from readvault.domain.actor import PIPELINE_ROLE
from readvault.reads.simulate import simulation
from readvault.services.people import accounts
from tests.conftest import REPOSITORY
from tests.prefect_database import PrefectDatabase
from tests.stack import Lab, Stack, new_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REFERENCES = REPOSITORY / "deployments" / "references"
EXTERNAL = {
    "files": {"annotations": {"mayContainReads": False}},
    "metadata": [{"name": "clade"}, {"name": "length", "type": "int"}],
}


@dataclass
class Container:
    """A small pipeline that speaks Loculus's protocol as its containers do: form-encoded, one token, NDJSON."""

    api: str
    token: str
    organism: str
    version: int = 1

    def take(self, etag: str | None = None) -> tuple[httpx.Response, list[dict[str, Any]]]:
        """Ask for work."""
        answer = httpx.post(
            f"{self.api}/{self.organism}/extract-unprocessed-data",
            data={"numberOfSequenceEntries": "10", "pipelineVersion": str(self.version)},
            headers=self._headers | ({"If-None-Match": etag} if etag else {}),
            timeout=30,
        )
        assert answer.status_code in (200, 304), answer.text
        return answer, [json.loads(line) for line in answer.text.splitlines()]

    def upload(self, group_id: int, content: bytes) -> str:
        """Upload a file for the entry's group; its file ID."""
        answer = httpx.post(
            f"{self.api}/files/request-upload",
            params={"groupId": group_id, "numberFiles": 1},
            headers=self._headers,
            timeout=30,
        )
        [ticket] = answer.raise_for_status().json()
        httpx.put(ticket["url"], content=content, headers=ticket["headers"]).raise_for_status()
        return str(ticket["fileId"])

    def send(self, *lines: dict[str, Any]) -> httpx.Response:
        """Send results."""
        return httpx.post(
            f"{self.api}/{self.organism}/submit-processed-data",
            params={"pipelineVersion": self.version},
            content="\n".join(map(json.dumps, lines)),
            headers=self._headers | {"Content-Type": "application/x-ndjson"},
            timeout=60,
        )

    def result_of(self, work: dict[str, Any]) -> dict[str, Any]:
        """What this pipeline makes of an entry: a clade, a length, an annotation file; files are passed on."""
        [sequence] = work["data"]["unalignedNucleotideSequences"].values() or [None]
        files = dict(work["data"]["files"] or {})
        annotation = f"ID {work['accession']}.{work['version']}\n".encode()
        file_id = self.upload(work["groupId"], annotation)
        files["annotations"] = [{"fileId": file_id, "name": f"{work['accession']}.embl"}]
        metadata = {"date": work["data"]["metadata"]["date"], "clade": "20A", "length": len(sequence or "")}
        data = {"metadata": metadata, "unalignedNucleotideSequences": {"main": sequence}, "files": files}
        return {"accession": work["accession"], "version": work["version"], "data": data, "errors": [], "warnings": []}

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@pytest.fixture(scope="module")
def stack(prefect_database: PrefectDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("external")
    shutil.copytree(REFERENCES, folder / "deployments" / "references")
    organisms = folder / "deployments" / "organisms"
    organisms.mkdir()
    running = Stack(folder / "data", prefect=prefect_database, environment=new_database(), organisms=organisms)
    running.data_dir.mkdir()
    screen = demo_organism.prepare(running.settings).pipeline.dehumanize
    for mode in ("instead", "after"):
        content = {
            "name": f"container-{mode}",
            "reference": {"fasta": "../references/NC_045512.2.fasta"},
            "metadata": [{"name": "date", "type": "date", "required": True}],
            "pipeline": {
                "dehumanize": {"index": screen.index, "sha256": screen.sha256},
                "external": {"mode": mode, **EXTERNAL},
            },
        }
        (organisms / f"{mode}.yaml").write_text(yaml.safe_dump(content))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def token(stack: Stack) -> str:
    """The token of a pipeline's account, fetched as Loculus's containers fetch it."""
    house = bootstrap.house(stack.settings)
    accounts.create_account(house, "prepro", "a long password", frozenset({PIPELINE_ROLE}))
    house.sessions.close()
    answer = httpx.post(
        f"{stack.addresses['identity']}/realms/loculus/protocol/openid-connect/token",
        data={
            "client_id": "backend-client",
            "username": "prepro",
            "password": "a long password",
            "grant_type": "password",
        },
        timeout=30,
    )
    return str(answer.raise_for_status().json()["access_token"])


@pytest.fixture(scope="module")
def lab(stack: Stack) -> Lab:
    return stack.lab()


def _submit(lab: Lab, organism: str, *paths: Path, consensus: str | None = None) -> tuple[str, int]:
    cell = ""
    if paths:
        tickets = lab.client.request_uploads(lab.group, paths, category="rawReads")
        for ticket in tickets:
            lab.client.upload(ticket)
        cell = files_cell(tickets)
    metadata = f"id\tdate\tfiles.rawReads\nsample\t2026-01-02\t{cell}\n"
    [entry] = lab.client.submit(organism, lab.group, metadata, consensus)
    return entry["accession"], entry["version"]


def _processed(lab: Lab, organism: str, name: tuple[str, int]) -> dict[str, Any]:
    return lab.client.wait_until_processed(organism, *name, seconds=240, every=0.3)


def test_instead_of_readvaults_steps(stack: Stack, token: str, lab: Lab, tmp_path: Path) -> None:
    organism = "container-instead"
    container = Container(stack.addresses["api"], token, organism)
    genome = "".join((REFERENCES / "NC_045512.2.fasta").read_text().splitlines()[1:])
    reads = tmp_path / "reads.fastq.gz"
    reads.write_bytes(gzip.compress(b"@r\nACGT\n+\nIIII\n", mtime=0))
    name = _submit(lab, organism, reads, consensus=f">sample\n{genome}\n")

    answer, [work] = container.take()
    assert (work["accession"], work["version"], work["groupId"]) == (*name, lab.group)
    [original] = work["data"]["files"]["rawReads"]
    assert httpx.get(original["url"]).raise_for_status().content == reads.read_bytes()
    assert container.take(answer.headers["etag"])[1] == []

    refused = container.send(container.result_of(work) | {"version": 7})
    assert (refused.status_code, "is not awaiting any processing results" in refused.text) == (422, True)
    assert container.send(container.result_of(work)).status_code == 204
    assert container.send(container.result_of(work)).status_code == 422

    review = _processed(lab, organism, name)
    assert review["processingResult"] == "NO_ISSUES", review["errors"]
    assert review["processedData"]["metadata"]["clade"] == "20A"
    assert review["processedData"]["metadata"]["length"] == len(genome)
    files = review["processedData"]["files"]
    assert files["rawReads"][0]["fileId"] == original["fileId"]
    assert files["rawReads"][0]["sha256"] == hashlib.sha256(reads.read_bytes()).hexdigest()

    assert lab.client.approve(organism, [(*name, review["manifestDigest"])])
    place = f"{stack.addresses['api']}/files/get/{name[0]}/{name[1]}"
    annotation = httpx.get(f"{place}/annotations/{name[0]}.embl", follow_redirects=True)
    assert annotation.text == f"ID {name[0]}.1\n"
    assert httpx.get(f"{place}/rawReads/reads.fastq.gz", follow_redirects=True).status_code in (401, 403, 404)


def test_after_readvaults_steps(stack: Stack, token: str, lab: Lab, tmp_path: Path) -> None:
    organism = "container-after"
    container = Container(stack.addresses["api"], token, organism)
    sample = simulation.simulate(
        REFERENCES / "NC_045512.2.fasta", tmp_path, pairs=4000, length=150, seed=5, substitutions=5,
        host=demo_organism.host_genome(stack.settings), host_pairs=100,
    )  # fmt: skip
    assert sample.r2 is not None
    name = _submit(lab, organism, sample.r1, sample.r2)

    work = _work(container)
    [(segment, consensus)] = work["data"]["unalignedNucleotideSequences"].items()
    [truth] = sample.truth.values()
    assert (len(consensus), segment) == (len(truth), "main")
    assert set(work["data"]["files"]) >= {"dehumanizedReads", "alignment", "consensus"}
    assert "rawReads" not in work["data"]["files"]
    seen = gzip.decompress(httpx.get(work["data"]["files"]["dehumanizedReads"][0]["url"]).raise_for_status().content)
    assert seen.count(b"\n") // 4 == 4000  # without the host's
    assert not any(name.encode() in seen for name in sample.host_read_names)

    assert container.send(container.result_of(work)).status_code == 204
    review = _processed(lab, organism, name)
    assert review["errors"] == []
    data = review["processedData"]
    assert data["metadata"]["clade"] == "20A"
    assert data["metadata"]["totalReads"] == 2 * 4100
    assert data["unalignedNucleotideSequences"] == {segment: consensus}
    assert {"annotations", "dehumanizedReads", "report"} <= set(data["files"])

    assert lab.client.approve(organism, [(*name, review["manifestDigest"])])
    for category in ("annotations", "dehumanizedReads"):
        file = data["files"][category][0]
        stack.anyone().download(*name, category, file["name"], tmp_path / category, sha256=file["sha256"])

    newer = Container(stack.addresses["api"], token, organism, version=2)
    again = _work(newer)
    assert again["data"]["unalignedNucleotideSequences"] == {segment: consensus}
    result = newer.result_of(again)
    result["data"]["metadata"]["clade"] = "21K"
    assert newer.send(result).status_code == 204
    assert _metadata(stack, organism, clade="21K")["pipelineVersion"] == 2
    late = httpx.post(
        f"{stack.addresses['api']}/{organism}/extract-unprocessed-data",
        data={"numberOfSequenceEntries": "1", "pipelineVersion": "1"},
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    )
    assert (late.status_code, "is not accepted anymore" in late.text) == (422, True)


def _work(container: Container) -> dict[str, Any]:
    """The first entry that there is to do, as soon as there is one."""
    return _soon(lambda: next(iter(container.take()[1]), None))


def _metadata(stack: Stack, organism: str, **expected: str) -> dict[str, Any]:
    """The published metadata of the only entry, as soon as they are as expected."""

    def look() -> dict[str, Any] | None:
        [line] = httpx.get(f"{stack.addresses['api']}/{organism}/get-released-data", timeout=30).text.splitlines()
        metadata: dict[str, Any] = json.loads(line)["metadata"]
        return metadata if all(metadata[name] == value for name, value in expected.items()) else None

    return _soon(look)


def _soon(look: Any, seconds: float = 240) -> dict[str, Any]:
    import time

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found: dict[str, Any] | None = look()
        if found is not None:
            return found
        time.sleep(0.3)
    raise AssertionError("nothing came in time")
