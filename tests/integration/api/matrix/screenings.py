"""Released reads that are withheld, and originals that two maintainers open."""

from __future__ import annotations

from dataclasses import replace

from readvault.domain.actor import Actor
from readvault.domain.organism import Dehumanize, Originals, Pipeline
from readvault.services.release import public_originals
from readvault.services.screening import withholding
from tests.houses import MAINTAINER
from tests.integration.api.matrix.cells import Call, Expected, Row, anybody, role
from tests.integration.api.matrix.scene import READS, Scene
from tests.integration.services import scenes

WHY = "a reason that says something"
READ = "/admin/entries/{accession}/{version}/reads/{pipeline_version}"
WITHHELD = "/files/get/{accession}/{version}/{category}/{name}"
STABLE = "/files/released/{accession}/{version}/{pipeline_version}/{category}/{name}"
OTHER = Actor("somebody else", MAINTAINER.roles)


def _withheld(scene: Scene) -> None:
    withholding.withhold(scene.house, MAINTAINER, scene.released.name, 1, WHY)


def _released(scene: Scene, **body: object) -> Call:
    name = scene.released.name
    return Call(path={"accession": name.accession, "version": name.version}, json={"reason": WHY, **body})


def _file(scene: Scene) -> Call:
    return Call(path={**_released(scene).path, "category": READS, "name": "reads.fastq.gz"})


def _wanting(scene: Scene) -> None:
    """An organism that lets originals be public, once a screen says that none of their reads is human."""
    rules = scene.house.organisms[scenes.ORGANISM]
    wanted = Dehumanize(index="i", sha256="a" * 64, originals=Originals(visibility=public_originals.PUBLIC_IF_NO_HITS))
    changed = rules.model_copy(update={"pipeline": Pipeline(dehumanize=wanted)})
    scene.house.organisms.update({scenes.ORGANISM: changed})  # type: ignore[attr-defined]


def _named(scene: Scene) -> Call:
    return Call(json={"accessionVersions": [str(scene.released.name)], "reason": WHY})


def _decided(scene: Scene) -> Call:
    name = str(scene.released.name)
    return Call(data={"action": "give", "entry": name, "pipeline_version": "1", "reason": WHY})


_PAGE = "/web/maintain/human-reads"


def _page(status: int) -> Expected:
    return {**role("maintainer", status), "anonymous": 303}


ROWS = [
    Row("GET", _PAGE, _page(200), prepare=_withheld),
    Row("POST", f"{_PAGE}/withheld", _page(303), _decided, prepare=_withheld),
    Row("POST", f"{_PAGE}/withheld", _page(409), _decided, note="not withheld"),
    Row(
        "POST",
        f"{_PAGE}/originals",
        _page(409),
        lambda scene: Call(data={"action": "confirm", "entry": str(scene.released.name)}),
        note="nothing was asked for",
    ),
    Row("GET", "/admin/screenings", role("maintainer", 200)),
    Row("GET", "/admin/withheld-reads", role("maintainer", 200), prepare=_withheld),
    Row("POST", READ + "/withhold", role("maintainer", 200), _released),
    Row("POST", READ + "/withhold", role("maintainer", 409), _released, prepare=_withheld, note="withheld"),
    Row("POST", READ + "/withhold", role("maintainer", 422), lambda scene: Call(json={"reason": WHY}), note="not out"),
    Row("POST", READ + "/give-again", role("maintainer", 200), _released, prepare=_withheld),
    Row("POST", READ + "/give-again", role("maintainer", 409), _released, note="not withheld"),
    Row(
        "POST",
        READ + "/give-again",
        role("maintainer", 404),
        lambda scene: replace(_released(scene), path={**_released(scene).path, "pipeline_version": 9}),
        note="no such result",
    ),
    Row("GET", WITHHELD, anybody(410, same_group=307, maintainer=307), _file, prepare=_withheld, note="withheld"),
    Row("HEAD", WITHHELD, anybody(410, same_group=307, maintainer=307), _file, prepare=_withheld, note="withheld"),
    Row(
        "GET",
        STABLE,
        anybody(410, same_group=307, maintainer=307),
        lambda scene: replace(_file(scene), path={**_file(scene).path, "pipeline_version": 1}),
        prepare=_withheld,
        note="withheld",
    ),
    Row("POST", "/admin/original-openings", role("maintainer", 409), _named, prepare=_wanting, note="no clean screen"),
    Row("POST", "/admin/original-openings/confirm", role("maintainer", 409), _named, note="nothing was asked for"),
    Row("POST", "/admin/original-openings/close", role("maintainer", 409), _named, note="closed"),
    Row("GET", "/admin/original-openings", role("maintainer", 200)),
    Row(
        "GET",
        "/admin/original-openings/candidates",
        role("maintainer", 200),
        lambda scene: Call(params={"organism": scenes.ORGANISM}),
    ),
]
