"""An export on a real S3: everybody gets its files by signed links and not without them; what is not kept is gone."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from sqlmodel import select

from readvault.adapters.embedded import SeaweedFS
from readvault.config import S3Settings
from readvault.db.engine import Sessions
from readvault.db.tables import SiloExport
from readvault.services.exports import reading, retention
from readvault.services.house import House
from readvault.services.storage.erasing import erasure, shredding
from tests.fakes import RecordingOrchestrator
from tests.houses import MAINTAINER, build_house
from tests.integration.s3.test_erasure_on_s3 import Bucket
from tests.integration.services.scenes import ORGANISM, group
from tests.integration.services.silo_scenes import export, released_reads
from tests.integration.services.test_erasure import OTHER, REASON


@pytest.fixture
def s3_house(sessions: Sessions, s3_settings: S3Settings, tmp_path: Path) -> House:
    """A house on a fresh bucket, which keeps one export."""
    house = build_house(sessions, Bucket(s3_settings), RecordingOrchestrator(), tmp_path)
    storage = house.settings.storage.model_copy(update={"silo_exports_kept": 1})
    return replace(house, settings=house.settings.model_copy(update={"storage": storage}))


def test_an_export_is_made_given_replaced_and_erased(s3_house: House, seaweed: SeaweedFS, tmp_path: Path) -> None:
    house, store = s3_house, s3_house.store
    assert isinstance(store, Bucket)
    group_id = group(house, "alice")
    released_reads(house, group_id)
    first = export(house)
    found = reading.find(house, None, ORGANISM)
    for file in found.files:
        url = reading.file_url(house, None, ORGANISM, "latest", file.name)
        content = httpx.get(url).content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256)
        assert httpx.get(url.partition("?")[0]).status_code == 403
        head = reading.file_url(house, None, ORGANISM, "latest", file.name, head=True)
        assert httpx.head(head).status_code == 200
    gone = released_reads(house, group_id, reads=(("TTTTT", 3),), files=(b"its own",))
    second = export(house)
    assert second.figures["reused"] == 1
    assert len(reading.write(house, None, ORGANISM, "latest", tmp_path / "set")) == 6
    with house.sessions.begin() as session:
        session.exec(select(SiloExport).where(SiloExport.id == first.export_id)).one().dropped_at = 1.0
    assert retention.tidy(house) == 6

    asked, _ = erasure.request(house, MAINTAINER, [gone], REASON)
    assert asked.id is not None
    erasure.confirm(house, OTHER, asked.id, objects=asked.objects, code=asked.code)
    done = shredding.carry_on(house, asked.id)
    assert done.finished_at is not None
    assert {key.split("/")[2] for key, _ in store.everything() if key.startswith("exports/")} == {"parts"}
    assert not [key for key, _ in store.everything() if str(gone) in key]
    assert export(house).figures["samples"] == 1
