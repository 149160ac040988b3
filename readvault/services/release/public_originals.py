"""Original files for everybody: only where two maintainers opened them and it is still certain that none is human."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

from sqlalchemy import func, or_, select
from sqlmodel import Session, col

from readvault.db import clock, entry_state
from readvault.db.erased import erased_among, is_tombstone
from readvault.db.names import among
from readvault.db.tables import (
    CurrentResult,
    EntryFile,
    EntryVersion,
    Manifest,
    OriginalOpening,
    Release,
    Screening,
    UploadedFile,
)
from readvault.domain import openings
from readvault.domain.errors import Gone
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.openings import State, Step
from readvault.domain.organism import Organism
from readvault.domain.reads import FileFormat
from readvault.domain.referenced import is_referenced
from readvault.domain.status import Visibility
from readvault.ports import StoredVersion
from readvault.services.entries import giving
from readvault.services.entries.visibility import state_of
from readvault.services.entries.withheld import withheld_among
from readvault.services.house import House
from readvault.services.release.public_files import get_url

PUBLIC_IF_NO_HITS = "public_if_no_hits"
KEPT = "its organism keeps originals with their groups"
PAGE = 200


@dataclass(frozen=True, slots=True)
class PublicOriginal:
    """An original file under the name that everybody reads. `size` counts bytes."""

    category: str
    name: str
    size: int
    sha256: str | None
    stored: StoredVersion

    def as_json(self, base_url: str, name: AccessionVersion) -> dict[str, Any]:
        """The file as manifests and listings name it; its URL gives the same bytes as long as it is open."""
        url = get_url(base_url, name, self.category, self.name)
        return {"category": self.category, "name": self.name, "size": self.size, "sha256": self.sha256, "url": url}


@dataclass(frozen=True, slots=True)
class Originals:
    """How it stands with the originals of a released accession version.

    `obstacle`: why nobody but their group may have them, whatever was agreed; None when none is known.
    `manifest_id`: the result that stands. `said`: the newest row.
    """

    state: State
    obstacle: str | None
    manifest_id: int | None
    pipeline_version: int | None
    said: OriginalOpening | None
    files: tuple[PublicOriginal, ...]

    @property
    def are_public(self) -> bool:
        return self.state is State.OPEN and self.obstacle is None


def may_everyone_read(
    organism: Organism, manifest: Mapping[str, Any], *, submitted_files: int, seen_again: int | None = None
) -> bool:
    """Whether a result proves that no read of the originals is human, as the index says that is pinned now.

    The organism must want originals public (`originals.visibility: public_if_no_hits`) and keep them for
    ever (what is public stays), and the manifest must say that every one of the `submitted_files` was
    FASTQ, that every read went through a complete screen, that none was too short to be screened, and
    that none was taken for human. The screen must be one with the pinned index, or the released reads,
    which are all of them, were screened with it since: `seen_again` counts them, None for not or not
    without a hit. Whatever is missing, of another shape or not known means no.
    """
    dehumanize = organism.pipeline.dehumanize
    rules = dehumanize.originals
    if rules.visibility != PUBLIC_IF_NO_HITS or rules.shred_after_days is not None:
        return False
    if dehumanize.index is None or dehumanize.sha256 is None:  # a digest alone may stand beside `off`
        return False
    provenance = manifest.get("provenance")
    screen = provenance.get("screen") if isinstance(provenance, Mapping) else None
    if not isinstance(provenance, Mapping) or not isinstance(screen, Mapping) or submitted_files < 1:
        return False
    reads = screen.get("reads")
    return (
        manifest.get("screened") is True
        and (provenance.get("hostIndexSha256") == dehumanize.sha256 or _is_count(seen_again, reads))
        and screen.get("formats") == [FileFormat.FASTQ.value]
        and _is_count(screen.get("files"), submitted_files)
        and isinstance(reads, int)
        and reads > 0
        and _is_count(screen.get("human"), 0)
        and _is_count(screen.get("tooShort"), 0)
        and _is_count(screen.get("kept"), reads)
    )


def _is_count(value: Any, expected: Any) -> bool:
    return type(value) is int and value == expected


def newest_steps(session: Session, names: Iterable[AccessionVersion]) -> dict[AccessionVersion, OriginalOpening]:
    """The row that holds for each of these accession versions; those without any are absent."""
    found: dict[AccessionVersion, OriginalOpening] = {}
    for page in batched(sorted(set(names)), PAGE):
        last = (
            select(func.max(col(OriginalOpening.id)))
            .where(among(OriginalOpening, page))
            .group_by(col(OriginalOpening.accession), col(OriginalOpening.version))
        )
        rows = session.execute(select(OriginalOpening).where(col(OriginalOpening.id).in_(last))).scalars()
        found |= {AccessionVersion(row.accession, row.version): row for row in rows}
    return found


def originals_of(house: House, session: Session, name: AccessionVersion) -> Originals:
    """How it stands with the originals of one accession version."""
    said = newest_steps(session, [name]).get(name)
    now = clock.read(session)
    state = State.CLOSED if said is None else openings.state_after(said.step, said.at, now)
    row = session.execute(
        entry_state.with_state(
            select(
                col(EntryVersion.organism),
                col(EntryVersion.released) & ~is_tombstone(),
                col(Manifest.id),
                col(Manifest.pipeline_version),
            )
        ).where(among(EntryVersion, [name]))
    ).one_or_none()
    files, erased = _files(session, name)
    if row is None or not row[1] or row[2] is None:
        return Originals(state, "it is not released", None, None, said, files)
    organism = house.organisms.get(row[0])
    if erased:
        obstacle: str | None = "some of them were erased"
    elif any(is_referenced(file.stored.key) for file in files):
        obstacle = "some of them stay in a bucket of their group"
    else:
        obstacle = _obstacle(session, organism, name, len(files))
    return Originals(state, obstacle, row[2], row[3], said, files)


def _files(session: Session, name: AccessionVersion) -> tuple[tuple[PublicOriginal, ...], bool]:
    """The submitted files under their public names, which never change; and whether any of them was erased."""
    rows = session.execute(
        select(EntryFile, UploadedFile)
        .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
        .where(among(EntryFile, [name]))
        .order_by(col(EntryFile.category), col(EntryFile.position), col(EntryFile.name))
    ).all()
    erased = erased_among(session, ((at.key, at.version_id) for _, at in rows))
    files = tuple(
        PublicOriginal(
            category=file.category,
            name=openings.public_name(number, file.name),
            size=at.size or 0,
            sha256=at.sha256,
            stored=StoredVersion(at.key, at.version_id, at.size or 0),
        )
        for number, (file, at) in enumerate(rows, start=1)
    )
    return files, bool(erased)


def unwanted(organism: Organism) -> str | None:
    """Why an organism wants none of its originals to be public; None when it may want it."""
    if organism.pipeline.dehumanize.originals.visibility != PUBLIC_IF_NO_HITS:
        return KEPT
    if organism.pipeline.dehumanize.originals.shred_after_days is not None:
        return "its organism destroys originals after a while"
    return None


def _obstacle(session: Session, organism: Organism | None, name: AccessionVersion, files: int) -> str | None:
    """Every doubt is one."""
    if organism is None:
        return KEPT
    if (wish := unwanted(organism)) is not None:
        return wish
    if state_of(session, [name])[name] is Visibility.WITHDRAWN:
        return "it was withdrawn"
    known = _known(session, name)
    published = {number: body for number, (body, is_public) in known.items() if is_public}
    if withheld_among(session, published):
        return "reads of it are withheld"
    hit = select(col(Screening.id)).where(among(Screening, [name]), col(Screening.hits) > 0).limit(1)
    if session.execute(hit).first() is not None:
        return "a newer host index found reads that may be human"
    if any(_found_human(body) for body, _ in known.values()):
        return "the screen of one of its results found human reads"
    again = _seen_again(session, published, organism.pipeline.dehumanize.sha256)
    proofs = (
        may_everyone_read(organism, body, submitted_files=files, seen_again=again.get(number))
        for number, body in published.items()
    )
    return None if any(proofs) else "no complete screen with the host index of today says that no read is human"


def _known(session: Session, name: AccessionVersion) -> dict[int, tuple[dict[str, Any], bool]]:
    """The results of the files as they were submitted, each with whether it is published."""
    approved = select(col(Release.manifest_id)).where(among(Release, [name]))
    since = select(col(CurrentResult.manifest_id)).where(among(CurrentResult, [name]))
    is_public = or_(col(Manifest.id).in_(approved), col(Manifest.id).in_(since))
    rows = session.execute(
        select(col(Manifest.id), col(Manifest.body), is_public).where(
            among(Manifest, [name]), is_public | col(Manifest.superseded_at).is_(None)
        )
    )
    return {row[0]: (json.loads(row[1]), bool(row[2])) for row in rows}


def _found_human(body: Mapping[str, Any]) -> bool:
    screen = (body.get("provenance") or {}).get("screen")
    return isinstance(screen, Mapping) and not _is_count(screen.get("human"), 0)


def _seen_again(session: Session, ids: Iterable[int], index: str | None) -> dict[int, int]:
    """How many released reads of each result this index has seen since, where none hit it or was too short."""
    rows = session.execute(
        select(col(Screening.manifest_id), col(Screening.reads)).where(
            col(Screening.manifest_id).in_(sorted(ids)),
            col(Screening.index_sha256) == (index or ""),
            ~col(Screening.by_processing),
            col(Screening.hits) == 0,
            col(Screening.too_short) == 0,
        )
    )
    return {row[0]: row[1] for row in rows}


def public_originals(
    house: House, session: Session, names: Iterable[AccessionVersion]
) -> dict[AccessionVersion, Sequence[PublicOriginal]]:
    """The original files that everybody may read, by accession version; those without any are absent."""
    agreed = (name for name, row in newest_steps(session, names).items() if row.step == Step.CONFIRM)
    found = {name: originals_of(house, session, name) for name in agreed}
    return {name: each.files for name, each in found.items() if each.are_public}


def public_original_url(
    house: House, name: AccessionVersion, category: str, label: str, *, head: bool = False
) -> str | None:
    """A short-lived pre-signed URL of an original file that everybody may read; None for any other file.

    Raises Gone with the reason for one that was open and isn't any more.
    """
    with house.sessions.read() as session:
        if not newest_steps(session, [name]):
            return None
        found = originals_of(house, session, name)
        wanted = next((file for file in found.files if (file.category, file.name) == (category, label)), None)
        if wanted is None or not (found.are_public or _was_open(session, name)):
            return None
    if not found.are_public:
        said = found.said.reason if found.said is not None and found.said.step == Step.CLOSE else found.obstacle
        raise Gone(f"The originals of {name} are closed: {said or 'they wait for a confirmation'}")
    return giving.signed_url(house, wanted.stored, name=label, expires=house.settings.urls.download, head=head)


def _was_open(session: Session, name: AccessionVersion) -> bool:
    confirmed = select(col(OriginalOpening.id)).where(
        among(OriginalOpening, [name]), col(OriginalOpening.step) == Step.CONFIRM.value
    )
    return session.execute(confirmed.limit(1)).first() is not None
