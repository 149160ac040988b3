"""What the API says of organisms follows their files; each request sees one set of them."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from readvault.domain.organism.loaded import LiveOrganisms
from readvault.organisms import loading
from readvault.organisms.watch import OrganismWatch
from readvault.services.house import House
from tests.houses import MAINTAINER

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from tests.integration.api.conftest import Headers


def write(folder: Path, title: str, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "reference.fasta").write_text(">main\nACGTACGT\n")
    for name in names:
        text = f"name: {name}\ndisplayName: {title} {name}\nreference: {{fasta: reference.fasta}}\n"
        (folder / f"{name}.yaml").write_text(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "organisms"


@pytest.fixture
def house(house: House, folder: Path, tmp_path: Path) -> House:
    write(folder, "old", "one", "two")
    settings = house.settings.model_copy(update={"organisms_dir": folder, "data_dir": tmp_path / "data"})
    return replace(house, settings=settings, organisms=LiveOrganisms(loading.load(settings), 1.0))


@pytest.fixture
def watch(house: House) -> OrganismWatch:
    assert isinstance(house.organisms, LiveOrganisms)
    return OrganismWatch(house, house.organisms)


def test_what_is_told_follows_the_files(api: TestClient, watch: OrganismWatch, folder: Path) -> None:
    before = api.get("/loculus-info")
    same = {"If-None-Match": before.headers["ETag"]}
    assert api.get("/loculus-info", headers=same).status_code == 304
    assert api.get("/three/metadata-template").status_code == 400
    write(folder, "new", "one", "two", "three")
    assert watch.look(insist=True)
    after = api.get("/loculus-info", headers=same)
    assert after.status_code == 200
    assert after.json()["organisms"]["one"]["displayName"] == "new one"
    assert api.get("/three/metadata-template").status_code == 200


def test_maintainers_see_the_configuration_and_why_another_is_refused(
    api: TestClient, headers: Headers, watch: OrganismWatch, folder: Path
) -> None:
    told = api.get("/admin/organisms", headers=headers(MAINTAINER)).json()
    configuration = told["organisms"]["one"]["configuration"]
    assert configuration["pipeline"]["platforms"]["ILLUMINA"]["minDepth"] == 10
    assert configuration["reference"]["fasta"].startswith("reference.fasta (sha256 ")
    assert told["refused"] == []
    (folder / "one.yaml").write_text("nonsense: 1\n")
    assert not watch.look(insist=True)
    refused = api.get("/admin/organisms", headers=headers(MAINTAINER)).json()
    assert any("one.yaml:1" in reason for reason in refused["refused"])
    assert (refused["digest"], refused["organisms"]) == (told["digest"], told["organisms"])
    ready = api.get("/actuator/health/readiness", headers=headers(MAINTAINER))
    assert ready.json()["components"]["organisms"]["status"] == "UP"


def test_racing_requests_see_whole_sets(api: TestClient, watch: OrganismWatch, folder: Path) -> None:
    titles: list[set[str]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            told = api.get("/loculus-info").json()["organisms"].values()
            titles.append({each["displayName"].split()[0] for each in told})

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    for number in range(4):
        write(folder, f"round{number}", "one", "two")
        assert watch.look(insist=True)
    stop.set()
    for asker in askers:
        asker.join()
    assert {len(seen) for seen in titles} == {1}
    assert len(set.union(*titles)) > 1
