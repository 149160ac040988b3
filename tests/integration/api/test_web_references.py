"""A group sees in a browser what it keeps in its own buckets, and gives other keys for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal
from fastapi.testclient import TestClient

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api.app import create_app
from readvault.services.house import House
from readvault.services.people.accounts import create_account
from readvault.services.pulls import ranges
from readvault.services.storage.integrity import verification
from readvault.web.mounting import add_pages
from tests.foreign import Authority
from tests.houses import ALICE, group_of
from tests.integration.api.browser import Browser
from tests.integration.api.test_web_hostile import served
from tests.integration.services.pull_scenes import Lab, lab, seen_through, submitted

CANARY = "canary-7f1a"
BODY = b"@r\nACGT\n+\nIIII\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def scene(house: House, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setattr(ranges, "PAUSES", ())
    with lab(house, authority, group_of(house, ALICE), references=True) as made:
        made.shop.objects |= {"/lab/<b>a.fastq": BODY}
        made.shop.keys.add(f"AKIA{CANARY}")
        yield seen_through(made)


@pytest.fixture
def browser(scene: Lab, issuer: EmbeddedIssuer, portal: BlockingPortal) -> Browser:
    for name in ("alice", "bob"):
        create_account(scene.house, name, "password")
    identity = Identity(issuer)
    app = add_pages(create_app(scene.house, identity), scene.house, identity)
    client = TestClient(app, follow_redirects=False, raise_server_exceptions=False)
    client.portal = portal
    opened = Browser(client)
    opened.log_in("alice", "password")
    return opened


def bucket(scene: Lab, secret: str = f"{CANARY}-secret") -> dict[str, str]:
    where = {"bucket": "lab", "region": "x", "endpoint": f"https://{scene.bucket().endpoint.partition('//')[2]}"}
    return {**where, "access_key": f"AKIA{CANARY}", "secret_key": secret}


def test_a_file_stays_is_lost_is_seen_and_comes_back(browser: Browser, scene: Lab) -> None:
    place = f"/web/groups/{scene.group_id}"
    asked = {"what": "keys", "keys": "<b>a.fastq => a.fastq", "category": "rawReads", "keep": "reference"}
    page = browser.send(browser.get(f"{place}/pulls/new"), "pull-bucket", **bucket(scene), **asked)
    assert "The files stay where they are" in page.text
    scene.work()
    page = browser.get(f"{place}/references")
    assert ("<b>a.fastq" in page.text, "as it was" in page.text) == (True, True)
    (source,) = scene.seen(page_id(browser, place)).sources
    submitted(scene, {"files.rawReads": f"a.fastq:{source.file_id}"})
    scene.shop.keys = {"another"}
    verification.verify(scene.house, days=-1)
    page = browser.get(f"{place}/references")
    assert "reference lost" in page.text
    scene.shop.keys = {f"AKIA{CANARY}"}
    page = browser.send(page, "renew", **bucket(scene, f"{CANARY}-new"))
    assert "Files that are read with the new keys: 1." in page.text
    verification.verify(scene.house, days=-1)
    page = browser.get(f"{place}/references")
    assert "reference lost" not in page.text
    assert CANARY not in page.html
    page = browser.send(page, "renew", **{**bucket(scene), "secret_key": ""})
    assert (page.status, CANARY in page.html) == (400, False)
    browser.client.cookies.clear()
    browser.log_in("bob", "password")
    assert browser.get(f"{place}/references").status == 403
    csrf = browser.get("/web").forms[0].hidden["csrf"]
    assert browser.post(f"{place}/references", {"csrf": csrf, **bucket(scene)}).status == 403


def page_id(browser: Browser, place: str) -> str:
    """The ID of the one pull that the group's list leads to."""
    return browser.get(f"{place}/pulls").html.partition("/web/pulls/")[2].partition('"')[0]


def test_where_all_is_copied_nothing_else_is_offered(browser: Browser, scene: Lab) -> None:
    scene.house.settings.pulls.references = False
    place = f"/web/groups/{scene.group_id}"
    assert "they stay where they are" not in browser.get(f"{place}/pulls/new").text
    page = browser.send(browser.get(f"{place}/pulls/new"), "pull-bucket", **bucket(scene), what="keys", keys="a",
                        keep="reference")  # fmt: skip
    assert (page.status, "keeps a copy" in page.text) == (400, True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium here")
def test_the_page_fits_a_phone(browser: Browser, scene: Lab, tmp_path: Path) -> None:
    from tests.chromium import Chromium

    scene.referenced("<b>a.fastq", access_key=f"AKIA{CANARY}", name="a.fastq")
    scene.work()
    with served(browser.client.app) as address:  # type: ignore[arg-type]
        chromium = Chromium(tmp_path / "chromium")
        try:
            chromium.get(f"{address}/web/login?next=/web/groups/{scene.group_id}/references")
            chromium.fill("#name", "alice")
            chromium.fill("#password", "password")
            chromium.click("main button")
            for path in ("references", "pulls/new"):
                chromium.get(f"{address}/web/groups/{scene.group_id}/{path}")
                for width in (375, 1200):
                    chromium.picture(tmp_path / f"{path.replace('/', '-')}-{width}.png", width=width)
                    assert chromium.run("document.documentElement.scrollWidth") == width
            assert chromium.complaints == []
        finally:
            chromium.close()
