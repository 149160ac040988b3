"""Files that come through drop links while the service is killed: announced, delivered, noticed, charged, claimed."""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path

from sqlmodel import func, select

from readvault.config.drops import DropLinkSettings
from readvault.db.tables import DropLink, DroppedFile, EntryFile, UploadedFile
from readvault.ports import SignedForm
from readvault.services.drops import announcing, arrivals, forms
from readvault.services.drops.announcing import CLAIMED, OPEN, UNCLAIMED
from readvault.services.house import House
from readvault.services.submission.new_entries import submit
from readvault.services.uploads.answers import WantedFile
from tests.faults.campaign import Campaign, Outcome
from tests.faults.forge import KILLED, Forge
from tests.faults.ground import FailPoints, Ground, ground
from tests.faults.invariants import check
from tests.houses import ALICE, tsv
from tests.integration.services.drop_scenes import link_of, prepared, used, with_links
from tests.integration.services.scenes import ORGANISM
from tests.postgres_server import available

POINTS = {
    "drop-announced": "announce",
    "drop-noticed": "sweep",
    "drop-arrived": "sweep",
    "drop-charged": "sweep",
    "submit-inspected": "claim",
    "submit-sealed": "claim",
    "submit-before-commit": "claim",
    "submit-after-commit": "claim",
}
"""Where the process dies, and what it was doing."""
BODY, LATER = b"@r\nACGT\n+\nIIII\n", b"posted over it"


def _there(url: str, folder: str) -> House:
    return with_links(Ground(url, Path(folder)).house())


def _announce(url: str, folder: str, token: str) -> None:
    announcing.announce(_there(url, folder), token, WantedFile("a.fastq", len(BODY)))


def _sweep(url: str, folder: str) -> None:
    arrivals.sweep(_there(url, folder))


def _claim(url: str, folder: str, group_id: int, name: str) -> None:
    _send(_there(url, folder), group_id, name)


def _send(house: House, group_id: int, name: str) -> None:
    row = {"id": name, "date": "2024-01-01", "platform": "ILLUMINA", "files.rawReads": f"drop:{name}"}
    submit(house, ALICE, ORGANISM, group_id=group_id, metadata=tsv(row), metadata_name="m.tsv")


OPERATIONS = {"announce": _announce, "sweep": _sweep, "claim": _claim}


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """So many files, each with a kill on its way."""
    database = "postgresql" if seed // 25 % 2 and available() else "sqlite"
    failures: list[str] = []
    with ground(folder, database) as there, ExitStack() as stack:
        house, group_id = prepared(there.house(), **DropLinkSettings().model_dump(exclude={"enabled"}))
        points = FailPoints(folder / "fail-points")
        forge = stack.enter_context(Forge("tests.faults.campaign_drop_links", points))
        for number in range(trials):
            point = list(POINTS)[(seed + number) % len(POINTS)]
            failures += _trial(there, house, forge, points, point, group_id, random.Random(seed * 1000 + number))
        failures += check(house, open_jobs=True)
    return Outcome(trials, failures, f"{database}, a bucket in a folder, the service in a process of its own")


def _trial(
    there: Ground, house: House, forge: Forge, points: FailPoints, point: str, group_id: int, dice: random.Random
) -> list[str]:
    place = {"url": there.url, "folder": str(there.folder)}
    link_id, token = link_of(house, group_id)
    ticket = forms.announce_form(house, token, "a.fastq", max_bytes=1000)
    posted = [BODY] + [LATER] * (1 if point == "drop-charged" else dice.randrange(2))
    operation, failures = POINTS[point], list[str]()
    orders = {"announce": {"token": token}, "sweep": {}, "claim": {"group_id": group_id, "name": ticket.object_name}}
    for body in posted:
        _post(house, ticket.form, body)
    if operation == "claim":
        arrivals.sweep(house)
    points.arm(point)
    forge.start(operation, **place, **orders[operation])
    if (ended := forge.ended()[0]) != KILLED:
        points.disarm()
        return [f"{point}: nothing was killed (status {ended})"]
    for _ in range(2):
        arrivals.sweep(house)
    announced_too = operation == "announce"
    claimed = _claimed(house, ticket.object_name)
    if claimed != (point == "submit-after-commit"):
        failures.append(f"{point}: claimed is {claimed}")
    if not claimed:
        _send(house, group_id, ticket.object_name)
    with house.sessions.read() as session:
        row = session.get_one(DroppedFile, ticket.object_name)
        file = session.get_one(UploadedFile, row.file_id)
        entries = session.exec(select(func.count()).select_from(EntryFile).where(EntryFile.file_id == file.id)).one()
    if (row.state, file.size, file.version_id, entries) != (CLAIMED, len(BODY), row.version_id, 1):
        failures.append(f"{point}: {row.state}, {file.size} bytes, in {entries} entries")
    wanted = len(BODY) + len(LATER) * (len(posted) - 1) + len(BODY) * announced_too, 1 + announced_too
    if used(house, link_id) != wanted:
        failures.append(f"{point}: the link counts {used(house, link_id)}, it should count {wanted}")
    return failures + _not_exact(house)


def _post(house: House, form: SignedForm, body: bytes) -> None:
    house.store.post(form, body)  # type: ignore[attr-defined]


def _claimed(house: House, name: str) -> bool:
    with house.sessions.read() as session:
        state = session.get_one(DroppedFile, name).state
        assert state in (OPEN, UNCLAIMED, CLAIMED)
        return state == CLAIMED


def _not_exact(house: House) -> list[str]:
    """Links that count other numbers of files than they have."""
    with house.sessions.read() as session:
        links = session.exec(select(DropLink.id, DropLink.used_objects)).all()
        has = dict(session.exec(select(DroppedFile.link_id, func.count()).group_by(DroppedFile.link_id)).all())
    wrong = [(count, has.get(link, 0)) for link, count in links if count != has.get(link, 0)]
    return [f"a link counts {count} files and has {number}" for count, number in wrong]


CAMPAIGN = Campaign(
    name="drop_links",
    promise="P4 What came through a drop link is delivered, counted and claimed once, whoever dies on the way",
    how=f"kill -9 at {len(POINTS)} fail points of announcing, noticing, charging and claiming; then sweep and submit"
    " again",
    full=400,
    run=run,
    unit="kills",
    tiny=1,
)
