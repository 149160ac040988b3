"""Houses for tests, and what every test about submissions begins with."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from readvault.config import Settings
from readvault.domain.actor import MAINTAINER_ROLE, PIPELINE_ROLE, Actor
from readvault.domain.group import Address, GroupDetails
from readvault.domain.organism import FileCategory, MetadataField, MetadataType, Organism, Reference, Submission
from readvault.services.house import House
from readvault.services.people.groups import create_group
from readvault.services.uploads.answers import WantedFile
from readvault.services.uploads.upload_requests import request_uploads

ALICE = Actor("alice")
BOB = Actor("bob")
MAINTAINER = Actor("maintainer", frozenset({MAINTAINER_ROLE}))
PIPELINE = Actor("pipeline", frozenset({PIPELINE_ROLE}))
GROUP = GroupDetails(
    group_name="Group",
    institution="Institution",
    address=Address(line1="1 Way", city="Basel", postal_code="4000", country="Switzerland"),
    contact_email="group@example.org",
)


def organism(folder: Path, name: str = "sars-cov-2", **changes: Any) -> Organism:
    """An organism with a short reference, one date and one country."""
    reference = folder / "reference.fasta"
    reference.write_text(">main\nACGTACGTACGTACGTACGT\n")
    fields: dict[str, Any] = {
        "name": name,
        "reference": Reference(fasta=reference),
        "submission": Submission(files={"rawReads": FileCategory(), "alignment": FileCategory()}),
        "metadata": (
            MetadataField(name="date", type=MetadataType.DATE, required=True),
            MetadataField(name="country"),
            MetadataField(name="platform", options=("ILLUMINA", "OXFORD_NANOPORE"), required_when=("files.rawReads",)),
        ),
    }
    return Organism(**(fields | changes))


def build_house(sessions: Any, store: Any, orchestrator: Any, folder: Path, **settings: Any) -> House:
    """A house around these parts with one organism."""
    one = organism(folder)
    configured = Settings(data_dir=folder, data_use_terms=False, **settings)
    return House(sessions, store, orchestrator, {one.name: one}, configured)


def group_of(house: House, actor: Actor) -> int:
    """A new group whose only member is this actor."""
    return create_group(house, actor, GROUP).group_id


def upload(house: House, actor: Actor, group_id: int, *bodies: bytes) -> list[str]:
    """Upload these bytes, one file each, as a client does; their file IDs."""
    wanted = [WantedFile(f"f{n}", len(body), hashlib.sha256(body).hexdigest()) for n, body in enumerate(bodies)]
    answers = request_uploads(house, actor, group_id, wanted)
    for answer, body in zip(answers, bodies, strict=True):
        if answer.put is not None:
            house.store.put(answer.put, body)  # type: ignore[attr-defined]
    return [answer.file_id for answer in answers]


def tsv(*rows: dict[str, str]) -> bytes:
    """A metadata file with these rows."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = ["\t".join(columns), *("\t".join(row.get(column, "") for column in columns) for row in rows)]
    return ("\n".join(lines) + "\n").encode()
