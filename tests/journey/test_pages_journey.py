"""A person with a browser, on the whole stack: upload by script, then review, download, approve on the pages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from readvault.client import Client
from readvault.reads.simulate import simulation
from tests.integration.api.browser import Page, SentForm
from tests.stack import ADDRESS, Lab, Stack, new_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = Stack(tmp_path_factory.mktemp("pages"), prefect=None, environment=new_database())
    running.start()
    yield running
    running.stop()


def _page(answer: httpx.Response) -> Page:
    return Page(answer.status_code, answer.text, answer.headers, str(answer.url))


def _filled(form: SentForm, **fields: str) -> dict[str, str]:
    return {**form.hidden, **fields}


def test_from_a_plate_to_its_release_on_the_pages(stack: Stack, tmp_path: Path) -> None:
    name, password = stack.new_user()
    client = Client(stack.addresses["api"], stack.addresses["identity"])
    client.login(name, password)
    group = client.create_group("Lab", institution="Lab", contact_email="lab@example.org", address=ADDRESS)
    lab = Lab(client, group)
    sample = simulation.simulate(
        stack.organism().reference.fasta, tmp_path, pairs=7000, length=150, seed=5, substitutions=3, insertions=0,
        deletions=0,
    )  # fmt: skip
    assert sample.r2 is not None
    [(accession, version)] = lab.submit(lab.upload(sample.r1, sample.r2))
    digest = lab.processed(accession, version)["manifestDigest"]
    with httpx.Client(base_url=stack.addresses["api"], follow_redirects=True) as browser:
        login = _page(browser.get("/web/organisms/demo"))
        page = _page(browser.post("/web/login", data=_filled(login.form("submit"), name=name, password=password)))
        (batch,) = [place for place in page.links.values() if "/batches/" in place]
        page = _page(browser.get(batch))
        [box] = page.form("approve").boxes
        assert box == f"{accession}.{version}:{digest}"
        entry = _page(browser.get(page.links[f"{accession}.{version}"]))
        assert "no issues" in entry.text
        original = browser.get(entry.links[sample.r1.name])
        assert hashlib.sha256(original.content).digest() == hashlib.sha256(sample.r1.read_bytes()).digest()
        assert original.headers["content-disposition"].startswith("attachment")
        assert browser.get(entry.links["consensus.fasta"]).text.startswith(">")
        form = page.form("approve")
        nobody = httpx.get(f"{stack.addresses['api']}/files/get/{accession}/{version}/consensus/consensus.fasta")
        assert nobody.status_code == 401
        changed = f"{accession}.{version}:{'0' * 64}"
        for data, status in (
            ({"action": "approve", "chosen": box}, 403),
            (_filled(form, action="approve", chosen=changed), 409),
            (_filled(form, action="approve", chosen=box), 200),
        ):
            assert browser.post(form.action, data=data).status_code == status
    nobody = httpx.get(f"{stack.addresses['api']}/files/get/{accession}/{version}/consensus/consensus.fasta")
    assert nobody.status_code == 307
