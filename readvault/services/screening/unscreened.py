"""Which published reads have not been through a host index yet, and where their files lie."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import batched

from sqlalchemy import select, union
from sqlmodel import Session, col

from readvault.db.erased import is_erased
from readvault.db.names import among
from readvault.db.tables import CurrentResult, Manifest, ManifestFile, Release, Screening, StoredObject
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reads import ProcessedCategory
from readvault.ports import StoredVersion
from readvault.services.house import House

PAGE = 200
_FASTQ, _BAM = ProcessedCategory.DEHUMANIZED_READS.value, ProcessedCategory.ALIGNMENT.value
_BAM_ENDS = ".bam"


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A released file with reads, pinned."""

    name: str
    stored: StoredVersion
    sha256: str


@dataclass(frozen=True, slots=True)
class Unscreened:
    """A published result whose reads the index has not seen.

    `by_processing`: processing itself removed what hits this index, so nothing has to be read. Else
    `files` are what has to be read: the FASTQ, as a BAM holds the same reads, or the BAM where there is
    no FASTQ.
    """

    name: AccessionVersion
    manifest_id: int
    category: str
    files: tuple[ReadFile, ...]
    by_processing: bool

    @property
    def size(self) -> int:
        """Bytes that have to be read."""
        return 0 if self.by_processing else sum(file.stored.size for file in self.files)


def unscreened(session: Session, names: Iterable[AccessionVersion], index_sha256: str) -> list[Unscreened]:
    """The published results of these accession versions with reads that this index has not seen yet."""
    found: list[Unscreened] = []
    for page in batched(sorted(set(names)), PAGE):
        found += _of_page(session, page, index_sha256)
    return found


def unscreened_of(house: House, name: AccessionVersion, index_sha256: str) -> list[Unscreened]:
    """The same for one accession version."""
    with house.sessions.read() as session:
        return unscreened(session, [name], index_sha256)


def _of_page(session: Session, names: Sequence[AccessionVersion], index_sha256: str) -> list[Unscreened]:
    published = union(
        select(col(Release.manifest_id)).where(among(Release, names)),
        select(col(CurrentResult.manifest_id)).where(among(CurrentResult, names)),
    )
    seen = select(col(Screening.id)).where(
        col(Screening.manifest_id) == col(ManifestFile.manifest_id), col(Screening.index_sha256) == index_sha256
    )
    # What was shredded nobody reads any more.
    rows = session.execute(
        select(ManifestFile, StoredObject)
        .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
        .where(
            col(ManifestFile.manifest_id).in_(published),
            col(ManifestFile.category).in_((_FASTQ, _BAM)),
            col(ManifestFile.may_be_public),
            ~seen.exists(),
            ~is_erased(col(StoredObject.key), col(StoredObject.version_id)),
        )
        .order_by(col(ManifestFile.manifest_id), col(ManifestFile.category), col(ManifestFile.name))
    )
    files: defaultdict[int, dict[str, list[ReadFile]]] = defaultdict(lambda: {_FASTQ: [], _BAM: []})
    for file, at in rows:
        if file.category == _FASTQ or file.name.endswith(_BAM_ENDS):
            stored = StoredVersion(at.key, at.version_id, at.size)
            files[file.manifest_id][file.category].append(ReadFile(file.name, stored, at.sha256))
    bodies = select(Manifest).where(col(Manifest.id).in_(list(files))).order_by(col(Manifest.id))
    return [
        each
        for row in session.execute(bodies).scalars()
        if (each := _result(row, files[row.id or 0], index_sha256)) is not None
    ]


def _result(row: Manifest, files: dict[str, list[ReadFile]], index_sha256: str) -> Unscreened | None:
    """None for what is public to nobody: reads that no complete screen has seen (`public_files`)."""
    body = json.loads(row.body)
    if body.get("screened") is not True:
        return None
    category = _FASTQ if files[_FASTQ] else _BAM
    native = (body.get("provenance") or {}).get("hostIndexSha256") == index_sha256
    name = AccessionVersion(row.accession, row.version)
    return Unscreened(name, row.id or 0, category, tuple(files[category]), by_processing=native)
