"""A person with a browser, on the whole stack: upload by script, then review, download, approve on the pages."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx
import pytest

from readvault.client import Client
from readvault.reads.simulate import simulation
from tests.chromium import PROGRAM, Chromium
from tests.integration.api.browser import Page, SentForm
from tests.stack import ADDRESS, Lab, Stack, new_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    environment = {
        **new_database(),
        "READVAULT_DROP_LINKS__ENABLED": "true",
        "READVAULT_URLS__MULTIPART_ALLOWED_FROM": "6000000",
        "READVAULT_URLS__PART_SIZE": str(5 * 2**20),
    }
    running = Stack(tmp_path_factory.mktemp("pages"), prefect=None, environment=environment)
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


_PUT_FILE = """(() => {{
  const made = new DataTransfer();
  const bytes = {bytes};
  made.items.add(new File([bytes], {name}, {{ lastModified: 1700000000000 }}));
  const input = document.getElementById("files");
  input.files = made.files;
  input.dispatchEvent(new Event("change"));
}})()"""


def _parts_in(requests: Iterable[str]) -> set[str]:
    """The numbers of the parts that were sent."""
    return {each.partition("partNumber=")[2][0] for each in requests if "partNumber=" in each}


def _wait_for(chromium: Chromium, condition: str) -> None:
    for _ in range(300):
        if chromium.run(condition):
            return
        chromium.wait(0.1)
    raise AssertionError(f"{condition}: {chromium.text} {chromium.complaints}")


@pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium here")
def test_files_are_delivered_by_somebody_without_an_account(stack: Stack, tmp_path: Path) -> None:
    """In a real browser, a large one going on after the page was left; named in metadata they become an entry."""
    lab = stack.lab()
    sample = simulation.simulate(
        stack.organism().reference.fasta, tmp_path, pairs=300, length=150, seed=6, substitutions=0, insertions=0,
        deletions=0,
    )  # fmt: skip
    token = lab.client._json("POST", f"/groups/{lab.group}/drop-links", json={"label": "centre"})["token"]
    reads = gzip.decompress(sample.r1.read_bytes()).decode()
    small = _PUT_FILE.format(bytes=json.dumps(reads), name='"my reads.fastq"')
    large = _PUT_FILE.format(bytes=f"new Uint8Array({12 * 10**6}).fill(65)", name='"large.bam"')
    parts = "document.querySelectorAll('.badge.NO_ISSUES').length"
    chromium = Chromium(tmp_path / "chromium")
    try:
        chromium.get(f"{stack.addresses['api']}/web/drop#{token}")
        _wait_for(chromium, "!document.getElementById('drop').hidden")
        assert token not in chromium.address
        chromium.run(small)
        _wait_for(chromium, f"{parts} === 1")
        # The first part is sent, the others hang, and the person goes away.
        chromium.run(
            "window.sent = 0; window.send = XMLHttpRequest.prototype.send;"
            "XMLHttpRequest.prototype.send = function (body) {"
            " if (window.began) return; window.began = true;"
            " this.addEventListener('load', () => { window.sent += 1; }); window.send.call(this, body); }"
        )
        chromium.run(large)
        _wait_for(chromium, "window.sent === 1")
        chromium.picture(tmp_path / "narrow.png", width=375, height=700)
        assert chromium.run("document.documentElement.scrollWidth <= window.innerWidth")
        before = len(chromium.requests)
        [first] = _parts_in(chromium.requests)
        chromium.get(f"{stack.addresses['api']}/web/drop")
        _wait_for(chromium, "!document.getElementById('drop').hidden")
        chromium.run(large)
        _wait_for(chromium, f"{parts} === 1")
        assert _parts_in(chromium.requests[before:]) == {"1", "2", "3"} - {first}, "what has arrived isn't sent again"
        assert chromium.run("localStorage.length") == 0
    finally:
        chromium.close()
    assert chromium.dialogs == []
    assert chromium.complaints == []
    files = lab.client._json("GET", f"/groups/{lab.group}/dropped-files")
    by_name = {each["name"]: each for each in files}
    assert {name: each["size"] for name, each in by_name.items()} == {
        "my_reads.fastq": len(reads),
        "large.bam": 12 * 10**6,
    }
    assert by_name["my_reads.fastq"]["sha256"] == hashlib.sha256(reads.encode()).hexdigest()
    [(accession, version)] = lab.submit(f"drop:{by_name['my_reads.fastq']['objectName']}")
    assert lab.processed(accession, version)["processingResult"] != "HAS_ERRORS"
    left = lab.client._json("GET", f"/groups/{lab.group}/dropped-files")
    assert [each["name"] for each in left] == ["large.bam"]


DOCS = Path(__file__).parents[2] / "docs" / "submitters.md"


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="needs curl and bash")
def test_the_lines_for_curl_work_as_they_stand_in_the_docs(stack: Stack, tmp_path: Path) -> None:
    lab = stack.lab()
    token = lab.client._json("POST", f"/groups/{lab.group}/drop-links", json={"label": "centre"})["token"]
    told = DOCS.read_text().partition("**With curl**")[2].partition("**With an HTML form**")[0]
    single, in_parts = re.findall(r"```bash\n(.*?)```", told, re.DOTALL)
    single = single.replace("https://reads.example.org", stack.addresses["api"]).replace("rvd_…", token)
    small, large = b"@r\nACGT\n+\nIIII\n", b"ACGT" * (3 * 10**6)
    (tmp_path / "sample_R1.fastq.gz").write_bytes(small)
    (tmp_path / "large.bam").write_bytes(large)

    def run(lines: str) -> str:
        script = f"set -o pipefail; API={stack.addresses['api']}\n{lines}"
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    run(single)
    # As if the connection had broken after the first part; then again, with the name that was told.
    lines = in_parts.splitlines()
    name, size = run("\n".join([*lines[:2], "for N in 1; do", *lines[3:6], "echo $NAME $SIZE"])).split()
    run("\n".join([lines[0], f"NAME={name} SIZE={size}", *lines[2:]]))
    files = lab.client._json("GET", f"/groups/{lab.group}/dropped-files")
    assert {each["name"]: each["size"] for each in files} == {
        "sample_R1.fastq.gz": len(small),
        "large.bam": len(large),
    }
    assert hashlib.sha256(small).hexdigest() in {each["sha256"] for each in files}
