"""The page of human reads: what a screening withheld, and originals that a second maintainer opens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from readvault.db import clock
from readvault.db.tables import Screening, Withholding
from readvault.domain.errors import Gone
from readvault.domain.identifiers import AccessionVersion
from readvault.services.house import House
from readvault.services.release import opening
from readvault.services.release.downloads import file_url
from readvault.services.screening.findings import reason_of
from tests.houses import MAINTAINER
from tests.integration.api.browser import Browser
from tests.integration.api.test_web_maintain import browser, site
from tests.integration.services.scenes import ORGANISM
from tests.integration.services.test_opening_originals import released, wanting

__all__ = ["browser", "site"]

HERE = "/web/maintain/human-reads"
WHY = "it is a <b>phage</b>"


@pytest.fixture
def house(house: House, tmp_path: Path) -> House:
    """A house whose organism lets originals be public."""
    return replace(house, organisms={ORGANISM: wanting(tmp_path)})


def withheld(house: House) -> AccessionVersion:
    """A released entry in whose reads a screening found something."""
    name = released(house)
    place: dict[str, Any] = {"accession": name.accession, "version": name.version, "manifest_id": 1}
    with house.sessions.begin() as session:
        at = clock.read(session)
        counts: dict[str, Any] = {
            "reads": 1000,
            "hits": 12,
            "too_short": 0,
            "by_processing": False,
            "category": "dehumanizedReads",
        }
        session.add(Screening(organism=ORGANISM, index_sha256="b" * 64, at=at, **counts, **place))
        session.add(Withholding(withheld=True, reason=reason_of(12, 1000), actor="readvault", at=at, **place))
    return name


def url(house: House, name: AccessionVersion) -> str:
    return file_url(house, None, name.accession, name.version, "dehumanizedReads", "dehumanized.fastq.gz")


def test_a_maintainer_is_told_looks_and_gives_the_reads_again(browser: Browser, house: House) -> None:
    assert "None waits for a decision" in browser.get(HERE).text
    name = withheld(house)
    assert "released results may hold human reads" in browser.get("/web/maintain").text
    page = browser.get(HERE)
    assert str(name) in page.text
    assert "pipeline version 1" in page.text
    assert "12 of 1,000 reads hit the index" in page.text
    assert page.runnable == []
    assert browser.send(page, "give").status == 400
    page = browser.send(browser.get(HERE), "give", reason=WHY)
    assert "Everybody may have the reads again." in page.text
    assert url(house, name)
    assert "None waits for a decision" in page.text


def test_a_maintainer_keeps_them_withheld(browser: Browser, house: House) -> None:
    name = withheld(house)
    page = browser.send(browser.get(HERE), "keep", reason=WHY)
    assert "The reads stay withheld." in page.text
    with pytest.raises(Gone, match="phage"):
        url(house, name)
    hidden = {"csrf": browser.get("/web").forms[0].hidden["csrf"], "entry": str(name), "reason": WHY}
    for fields in ({"action": "give", "pipeline_version": "x"}, {"action": "burn", "pipeline_version": "1"},
                   {"action": "give", "pipeline_version": "1", "entry": "nobody"}):  # fmt: skip
        assert browser.post(f"{HERE}/withheld", hidden | fields).status == 400


def test_a_second_maintainer_opens_originals_on_the_page(browser: Browser, house: House) -> None:
    name = released(house)
    opening.request(house, MAINTAINER, [name], WHY)
    page = browser.get(HERE)
    assert "You asked for it" in page.text
    assert "&lt;b&gt;" in page.html
    hidden = {"csrf": browser.get("/web").forms[0].hidden["csrf"], "entry": str(name)}
    assert browser.post(f"{HERE}/originals", hidden | {"action": "confirm"}).status == 403
    assert "The originals stay" in browser.send(page, "refuse", reason="not before the paper is out").text
    opening.request(house, replace(MAINTAINER, name="another"), [name], WHY)
    page = browser.send(browser.get(HERE), "confirm")
    assert "Everybody may read the originals." in page.text
    assert file_url(house, None, name.accession, 1, "rawReads", "original_1.fastq.gz")
