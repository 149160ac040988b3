"""The files that an external pipeline sends: what it may send, whose they are, and which the public may ever see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import batched

from sqlalchemy import select
from sqlmodel import Session, col

from readvault.db.tables import EntryFile, PartialResult, UploadedFile
from readvault.domain import filenames
from readvault.domain.errors import Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.domain.reads import READ_LEVEL
from readvault.domain.referenced import is_referenced
from readvault.ports import StoredVersion
from readvault.services.processing.external_claims import external_of
from readvault.services.processing.stored_objects import StagedFile

PAGE = 500


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file as an external pipeline names it."""

    category: str
    name: str
    file_id: str


def check_names(organism: Organism, files: Sequence[SentFile]) -> None:
    """Refuse bad and repeated names and unknown categories, in Loculus's words (Unprocessable)."""
    external = external_of(organism)
    allowed = {*external.files, *organism.submission.files} - READ_LEVEL
    if external.mode == "after":
        allowed |= set(organism.pipeline.outputs)
    seen: set[tuple[str, str]] = set()
    for file in files:
        if fault := filenames.fault_of(file.name):
            raise Unprocessable(filenames.message(file.name, file.category, fault))
        if (file.category, file.name) in seen:
            raise Unprocessable(f"The files in category {file.category} contain duplicate file names: {file.name}")
        seen.add((file.category, file.name))
        if file.category not in allowed:
            raise Unprocessable(
                f"The category {file.category} is not part of the configured output categories for {organism.name}."
                f" Allowed categories are: {', '.join(sorted(allowed))}."
            )


def new_files(files: Sequence[SentFile], ours: PartialResult | None) -> tuple[SentFile, ...]:
    """The files that aren't readvault's own: those the pipeline got and only passes on."""
    own = set() if ours is None else {file["fileId"] for file in ours.files}
    return tuple(file for file in files if file.file_id not in own)


def check_category_of_new(organism: Organism, file: SentFile, originals: set[str]) -> None:
    """Only what was submitted may be passed on in a category that isn't the external pipeline's own."""
    if file.category not in external_of(organism).files and file.file_id not in originals:
        raise Unprocessable(
            f"The category {file.category} is not part of the configured output categories for {organism.name}"
            f" for new files such as {file.file_id}."
        )


def uploads(session: Session, file_ids: Sequence[str]) -> dict[str, UploadedFile]:
    """The uploads with these IDs."""
    found: dict[str, UploadedFile] = {}
    for page in batched(sorted(set(file_ids)), PAGE):
        query = select(UploadedFile).where(col(UploadedFile.id).in_(page)).execution_options(populate_existing=True)
        for file in session.execute(query).scalars():
            found[file.id] = file
    return found


def submitted_ones(session: Session, file_ids: Sequence[str]) -> set[str]:
    """Which of these files some entry was submitted with."""
    found: set[str] = set()
    for page in batched(sorted(set(file_ids)), PAGE):
        found |= set(session.execute(select(col(EntryFile.file_id)).where(col(EntryFile.file_id).in_(page))).scalars())
    return found


def check_group(
    name: AccessionVersion, group_id: int, files: Sequence[SentFile], known: Mapping[str, UploadedFile]
) -> None:
    """Refuse files of another group than the entry's."""
    for file in files:
        upload = known.get(file.file_id)
        if upload is not None and upload.group_id != group_id:
            raise Unprocessable(
                f"Accession version {name} belongs to group {group_id}"
                f" but the attached file {file.file_id} belongs to the group {upload.group_id}."
            )


def stored_here(
    files: Sequence[SentFile], known: Mapping[str, UploadedFile], originals: set[str]
) -> tuple[SentFile, ...]:
    """The files without originals that stay in a bucket of their group: a result holds what is ours to keep.

    Raises Unprocessable for such a file that nobody submitted.
    """
    here = []
    for file in files:
        upload = known.get(file.file_id)
        if upload is None or not is_referenced(upload.key):
            here.append(file)
        elif file.file_id not in originals:
            raise Unprocessable(f"The file {file.file_id} stays in a bucket of its group. Results have to be uploaded.")
    return tuple(here)


def staged(organism: Organism, file: SentFile, upload: UploadedFile, originals: set[str]) -> StagedFile:
    """A sealed and hashed upload as a file of the result.

    The public may see it only in a category that can't hold reads, and never when it was submitted.
    """
    assert upload.size is not None
    assert upload.sha256 is not None
    category = external_of(organism).files.get(file.category)
    return StagedFile(
        category=file.category,
        name=file.name,
        size=upload.size,
        sha256=upload.sha256,
        stored=StoredVersion(upload.key, upload.version_id, upload.size),
        file_id=file.file_id,
        may_be_public=category is not None and not category.may_contain_reads and file.file_id not in originals,
    )
