"""The scene of the access matrix: two groups whose secrets are planted as canaries, and everybody who may ask."""

from __future__ import annotations

import copy
import hashlib
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import event, update
from sqlmodel import col, select

from readvault.adapters.foreign_s3 import ForeignS3
from readvault.adapters.identity import EmbeddedIssuer
from readvault.db.engine import Sessions, create_engine
from readvault.db.tables import EntryFile, GroupMember, ManifestFile, StoredObject, UploadedFile
from readvault.domain import manifest
from readvault.domain.actor import EXTERNAL_METADATA_ROLE, Actor
from readvault.domain.identifiers import AccessionVersion, accession_of
from readvault.domain.status import ProcessingResult
from readvault.services.drops.announcing import announce
from readvault.services.drops.links import Wish, make_link
from readvault.services.drops.unclaimed import unclaimed_files
from readvault.services.house import House
from readvault.services.people.accounts import create_account
from readvault.services.people.groups import add_member
from readvault.services.people.tokens import make_token
from readvault.services.processing import jobs
from readvault.services.processing.jobs import ProcessedVersion, StagedFile
from readvault.services.review.approval import Scope, approve
from readvault.services.uploads.answers import WantedFile
from readvault.services.uploads.upload_requests import Cutting, request_uploads
from tests.fakes import MemoryStore, RecordingOrchestrator
from tests.foreign import KEY
from tests.houses import ALICE, BOB, MAINTAINER, PIPELINE, build_house, group_of
from tests.integration.services import scenes

CAROL = Actor("carol")
RITA = Actor("rita")
UPDATER = Actor("updater", frozenset({EXTERNAL_METADATA_ROLE}))
ACTORS: Mapping[str, Actor] = {
    "other_group": BOB,
    "same_group": CAROL,
    "removed_member": RITA,
    "pipeline": PIPELINE,
    "external_updater": UPDATER,
    "maintainer": MAINTAINER,
}
READS = "dehumanizedReads"
MEGABYTES_17 = 17 * 10**6
_BASES = "ACGT"
_FIRST_ACCESSION = 30_000_000
"""Far from the accessions that submissions in the tests get."""


@dataclass(frozen=True)
class Placed:
    """An entry of the scene."""

    name: AccessionVersion
    job_id: str
    digest: str = ""
    original_file: str = ""
    processed_file: str = ""

    @property
    def wire(self) -> dict[str, Any]:
        """As requests name it."""
        return {"accession": self.name.accession, "version": self.name.version}


@dataclass
class Canaries:
    """What must not be seen by others: `private` never, `originals` (storage keys) not even by maintainers."""

    private: set[str] = field(default_factory=set)
    originals: set[str] = field(default_factory=set)


@dataclass
class Party:
    """A group with one entry of each status."""

    group_id: int
    submitter: Actor
    received: Placed
    processed: Placed
    released: Placed
    canaries: Canaries
    batch_id: str
    open_file: str = ""
    multipart_file: str = ""
    link: str = ""
    link_token: str = ""
    dropped_file: str = ""


@dataclass
class Scene:
    """The house and what is in it. `restore` brings everything back to how it was built."""

    house: House
    store: MemoryStore
    orchestrator: RecordingOrchestrator
    issuer: EmbeddedIssuer
    ours: Party
    theirs: Party
    small_token: Callable[[], dict[str, str] | None]
    _database: Path
    _kept: Path
    _stored: Any
    _organisms: dict[str, Any] = field(default_factory=dict)
    _headers: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def group_id(self) -> int:
        return self.ours.group_id

    @property
    def received(self) -> Placed:
        return self.ours.received

    @property
    def processed(self) -> Placed:
        return self.ours.processed

    @property
    def released(self) -> Placed:
        return self.ours.released

    @property
    def open_file(self) -> str:
        """A file of group A that is uploaded and not submitted."""
        return self.ours.open_file

    @property
    def multipart_file(self) -> str:
        """A file of group A whose parts may be sent."""
        return self.ours.multipart_file

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of paths, by name."""
        entry = self.processed
        return {
            "organism": scenes.ORGANISM,
            "group_id": self.group_id,
            "accession": entry.name.accession,
            "version": entry.name.version,
            "pipeline_version": 1,
            "category": "consensus",
            "name": "consensus.fasta",
            "file_id": self.open_file,
            "batch_id": self.ours.batch_id,
            "link_id": self.ours.link,
            "object_name": self.ours.dropped_file,
        }

    def headers(self, caller: str) -> dict[str, str] | None:
        """The Authorization header of a caller; None when there is no such caller (yet)."""
        if caller == "anonymous":
            return {}
        if caller == "small_token":
            return self.small_token()
        if caller not in self._headers:
            token = self.issuer.tokens(ACTORS[caller])["access_token"]
            self._headers[caller] = {"Authorization": f"Bearer {token}"}
        return self._headers[caller]

    def restore(self) -> None:
        """Undo whatever a cell did, in the database and in the store."""
        self.house.sessions.close()
        for leftover in self._database.parent.glob(f"{self._database.name}-*"):
            leftover.unlink()
        shutil.copyfile(self._kept, self._database)
        self.store.__dict__.update(copy.deepcopy(self._stored))
        self.orchestrator.deliveries.clear()
        self.house.organisms.update(self._organisms)  # type: ignore[attr-defined]


def build(folder: Path, template_url: str, issuer: EmbeddedIssuer) -> Scene:
    """A scene in its own SQLite database, made from a migrated one."""
    database, kept = folder / "matrix.sqlite", folder / "kept.sqlite"
    shutil.copyfile(template_url.removeprefix("sqlite:///"), database)
    store, orchestrator = MemoryStore(), RecordingOrchestrator()
    engine = create_engine(f"sqlite:///{database}")
    # A power cut would lose nothing but a test.
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    ways = {"drop_links": {"enabled": True}, "pulls": {"enabled": True, "secret_keys": [KEY]}}
    house = build_house(Sessions(engine), store, orchestrator, folder, **ways)
    house = replace(house, foreign=ForeignS3(house.settings.pulls))
    for actor in (ALICE, *ACTORS.values()):
        create_account(house, actor.name, "password", actor.roles)
    ours = _party(house, "a", ALICE, CAROL, RITA)
    theirs = _party(house, "b", BOB)
    with house.sessions.begin() as session:
        session.delete(session.get_one(GroupMember, (ours.group_id, RITA.name)))
    # Its user may do everything in group A; it is for nothing that any route asks of a member.
    _, token = make_token(house, CAROL, name="small", scopes=["external-metadata"], days=1)
    small = {"Authorization": f"Bearer {token}"}
    scene = Scene(house, store, orchestrator, issuer, ours, theirs, lambda: small, database, kept, None)
    house.sessions.close()  # the last connection writes the log into the file
    shutil.copyfile(database, kept)
    scene._stored = copy.deepcopy(store.__dict__)
    scene._organisms = dict(scene.house.organisms)
    return scene


def _party(house: House, letter: str, submitter: Actor, *others: Actor) -> Party:
    group_id = group_of(house, submitter)
    for member in others:
        add_member(house, submitter, group_id, member.name)
    canaries, batch_id = Canaries(), str(uuid.uuid4())
    placed = {
        kind: _entry(house, letter, kind, group_id, submitter, batch_id, canaries)
        for kind in ("received", "processed", "released")
    }
    pair = (placed["released"].name, placed["released"].digest)
    approve(house, submitter, scenes.ORGANISM, scope=Scope.ALL, accession_versions=[pair])
    party = Party(group_id, submitter, *placed.values(), canaries, batch_id)
    party.open_file, party.multipart_file = _open_files(house, letter, party)
    party.link, party.link_token, party.dropped_file = _dropped_file(house, letter, party)
    return party


def _entry(
    house: House, letter: str, kind: str, group_id: int, submitter: Actor, batch_id: str, canaries: Canaries
) -> Placed:
    word = f"canary-{letter}-{kind}"
    number = _FIRST_ACCESSION + 10 * "ab".index(letter) + ("received", "processed", "released").index(kind)
    metadata = {"date": "2020-01-01", "country": f"{word}-country"}
    name, job_id = scenes.entry(
        house,
        group_id,
        files=(f"@{word}\nACGT\n+\nIIII\n".encode(),),
        accession=accession_of(number, "LOC_"),
        submission_id=f"{word}-sample",
        submitter=submitter.name,
        batch_id=batch_id,
        submitted_metadata=metadata,
    )
    with house.sessions.begin() as session:
        named = (EntryFile.accession == name.accession, EntryFile.version == name.version)
        session.execute(update(EntryFile).where(*named).values(name=f"{word}-reads.fastq"))
        original = session.exec(select(UploadedFile).join(EntryFile).where(*named)).one()
        canaries.originals.add(original.key)
        canaries.private |= {f"{word}-reads.fastq", original.id, str(original.declared_sha256)}
    if kind != "released":
        canaries.private |= {f"{word}-country", f"{word}-sample"}
    if kind == "received":
        return Placed(name, job_id, original_file=original.id)
    digest = _register(house, job_id, word, metadata, original, canaries if kind == "processed" else Canaries())
    with house.sessions.read() as session:
        file = session.exec(
            select(ManifestFile)
            .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
            .where(StoredObject.sha256 == hashlib.sha256(_consensus(word)).hexdigest())
        ).one()
    if kind == "processed":
        canaries.private |= {digest, file.file_id}
    return Placed(name, job_id, digest, original.id, file.file_id)


def _register(
    house: House, job_id: str, word: str, metadata: dict[str, str], original: UploadedFile, canaries: Canaries
) -> str:
    claim = scenes.claimed(house, job_id)
    contents = {("consensus", "consensus.fasta"): _consensus(word), (READS, "reads.fastq.gz"): f"{word} r".encode()}
    files = [_staged(house, claim.group_id, place, content) for place, content in contents.items()]
    sequences = {"main": sequence(word)}
    canaries.private |= {sequence(word), *(file.sha256 for file in files)}
    body = manifest.build(
        claim.accession_version,
        organism=claim.organism,
        pipeline_version=claim.pipeline_version,
        metadata=metadata,
        sequences=sequences,
        consensus_source="reads",
        files=[(file.category, file.name, file.size, file.sha256) for file in files],
        processing_result=ProcessingResult.NO_ISSUES,
        errors=(),
        warnings=(),
        screened=True,
        provenance={
            "tools": {"minimap2": "2.31"},
            "parameters": {},
            "inputs": [{"category": "rawReads", "size": original.size, "sha256": original.declared_sha256}],
        },
    )
    data = {"metadata": metadata, "unalignedNucleotideSequences": sequences}
    return jobs.register(house, claim, ProcessedVersion(body, (), (), data, tuple(files)))


def sequence(word: str) -> str:
    """A sequence of its own for each entry."""
    digest = hashlib.sha256(word.encode()).digest()
    return "".join(_BASES[byte % 4] for byte in digest)


def _consensus(word: str) -> bytes:
    return f">main\n{sequence(word)}\n".encode()


def _staged(house: House, group_id: int, place: tuple[str, str], content: bytes) -> StagedFile:
    sha256 = hashlib.sha256(content).hexdigest()
    stored = house.store.write(f"vault/{group_id}/{sha256}", content)  # type: ignore[attr-defined]
    return StagedFile(*place, len(content), sha256, stored)


def _dropped_file(house: House, letter: str, party: Party) -> tuple[str, str, str]:
    """A drop link of the group, its token, and a file that came through it."""
    body, label = f"canary-{letter}-dropped".encode(), f"canary-{letter}-link"
    view, token = make_link(house, party.submitter, party.group_id, Wish(label, 7))
    assert token is not None
    sha256 = hashlib.sha256(body).hexdigest()
    ticket = announce(house, token, WantedFile(f"canary-{letter}-dropped.fastq", len(body), sha256))
    assert ticket.put is not None
    house.store.put(ticket.put, body)  # type: ignore[attr-defined]
    unclaimed_files(house, party.submitter, party.group_id)
    party.canaries.private |= {token, label, ticket.object_name, f"canary-{letter}-dropped.fastq", sha256}
    return view.id, token, ticket.object_name


def _open_files(house: House, letter: str, party: Party) -> Iterable[str]:
    body = f"canary-{letter}-open".encode()
    sha256 = hashlib.sha256(body).hexdigest()
    wanted = [WantedFile("open.fastq", len(body), sha256), WantedFile("parts.bam", MEGABYTES_17, "0" * 64)]
    (single,) = request_uploads(house, party.submitter, party.group_id, wanted[:1])
    (large,) = request_uploads(house, party.submitter, party.group_id, wanted[1:], cutting=Cutting(multipart=True))
    assert single.put is not None
    house.store.put(single.put, body)  # type: ignore[attr-defined]
    party.canaries.private |= {single.file_id, large.file_id, sha256}
    return single.file_id, large.file_id
