"""Before a byte is pulled: what is there, whether the submitter may have it, and whether there is room for it."""

from __future__ import annotations

import hmac
import json
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import func
from sqlmodel import Session, select

from readvault.db import clock
from readvault.db.tables import Pull, PullSource, UploadedFile
from readvault.domain import filenames
from readvault.domain.errors import ProcessingFailure, TooLarge, TooMany
from readvault.domain.pulls import Refusal, SourceRefused, SourceState
from readvault.domain.referenced import key_of
from readvault.ports import ForeignAddress, ForeignBucket, ForeignKeys, ForeignObject, ForeignStores
from readvault.services.house import House
from readvault.services.pulls.asked import CHALLENGE, folder_of
from readvault.services.pulls.sealed import of_pull, of_source, reveal
from readvault.services.queue.fence import Claim, held
from readvault.services.uploads import multipart, quota
from readvault.services.uploads.answers import WantedFile
from readvault.services.uploads.owned import owned_by

HOUR = 3600.0
BYTES_OF_NOTE = 1024


@dataclass
class Pins:
    """The sources of one pull, with its credentials opened for as long as a worker is at it."""

    house: House
    claim: Claim
    foreign: ForeignStores
    pull: Pull
    proven: dict[str, bool] = field(default_factory=dict)
    _asking: threading.Lock = field(default_factory=threading.Lock)

    def bucket(self) -> ForeignBucket | None:
        """The bucket with its keys; None where the sources are URLs."""
        pull = self.pull
        if pull.bucket is None or pull.endpoint is None:
            return None
        keys = None
        if pull.secret is not None:
            told = json.loads(reveal(self.house.settings.pulls, pull.secret, of_pull(pull.id)))
            keys = ForeignKeys(*told)
        return ForeignBucket(pull.endpoint, pull.region or "", pull.bucket, keys)

    def address(self, source: PullSource) -> ForeignAddress:
        """Where a source is, with all that is needed to read it."""
        return self._at(source.place, source)

    def _at(self, place: str, source: PullSource | None = None) -> ForeignAddress:
        bucket = self.bucket()
        if bucket is not None:
            return self.foreign.address_in(bucket, place)
        if source is None or source.secret is None:
            return ForeignAddress(place)
        return ForeignAddress(reveal(self.house.settings.pulls, source.secret, of_source(self.pull.id, source.number)))

    def list_prefix(self) -> None:
        """Write down what is under the prefix, once; from then on the pull never gets other files.

        Raises SourceRefused for a list that can't be had or is too long.
        """
        pull, bucket, settings = self.pull, self.bucket(), self.house.settings.pulls
        if pull.prefix is None or pull.listed or bucket is None:
            return
        if bucket.keys is None:
            self.prove(pull.prefix)
        found = self.foreign.listing(bucket, pull.prefix, at_most=settings.objects_per_request)
        # What was put there as a proof, now or for another pull, is no file of reads.
        keys = sorted(key for key, _ in found if not key.rpartition("/")[2].startswith(CHALLENGE))
        if not keys:
            raise SourceRefused(Refusal.MISSING, "There is no object under the prefix.")
        if (total := sum(size for _, size in found)) > settings.bytes_per_request:
            message = f"The objects under the prefix have {total} bytes; a pull may have {settings.bytes_per_request}."
            raise SourceRefused(Refusal.TOO_LARGE, message)
        rows = [_listed(pull, number, key) for number, key in enumerate(keys, start=1)]
        with self.house.sessions.begin() as session:
            held(session, self.claim)
            session.add_all(rows)
            session.get_one(Pull, pull.id).listed = True
        pull.listed = True

    def prove(self, place: str) -> None:
        """See that the challenge object lies beside a place; raises SourceRefused when it doesn't."""
        folder, pull = folder_of(place), self.pull
        with self._asking:
            if folder not in self.proven:
                name, content = pull.challenge_name, pull.challenge_content
                note = None
                if name is not None:
                    note = self.foreign.note(self._at(folder + name), at_most=BYTES_OF_NOTE)
                is_right = note is not None and hmac.compare_digest(note.strip(), (content or "").encode())
                self.proven[folder] = bool(content) and is_right
            if not self.proven[folder]:
                message = "Everybody can read this source, and the challenge object does not lie beside it."
                if pull.challenge_name is None:
                    message = (
                        "Everybody can read this source. Ask for it without keys or signature, to get a challenge."
                    )
                raise SourceRefused(Refusal.NO_PROOF, message)

    def pin(self, source: PullSource, check: Callable[[], None]) -> UploadedFile | None:
        """Pin a source and reserve its place among the group's uploads; its file, or None when the group has it.

        Raises SourceRefused, SourceAway, LeaseLost.
        """
        if source.etag is not None and source.file_id is not None:
            with self.house.sessions.read() as session:
                return session.get_one(UploadedFile, source.file_id)
        address = self.address(source)
        found = self.foreign.look(address)
        if source.expected_size not in (None, found.size):
            message = f"The source has {found.size} bytes, declared were {source.expected_size}."
            raise SourceRefused(Refusal.WRONG_SIZE, message)
        if found.size > (limit := multipart.largest_file(self.house, source.category)):
            message = f"The source has {found.size} bytes; a file may have {limit}."
            raise SourceRefused(Refusal.TOO_LARGE, message)
        if self.foreign.is_public(address):
            self.prove(self.pull.prefix if self.pull.prefix is not None else source.place)
        check()
        return self._reserve(source, found)

    def _reserve(self, source: PullSource, found: ForeignObject) -> UploadedFile | None:
        house, pull, limits = self.house, self.pull, self.house.settings.limits
        part = multipart.part_size_for(house, found.size)
        cut = found.size > part and not pull.by_reference
        wanted = quota.Wanted(pull.group_id, pull.asked_by, files=1, size=found.size, multiparts=int(cut))
        with house.sessions.begin() as session:
            now = clock.read(session)
            if (owned := self._owned(session, source, found)) is None:
                try:
                    quota.reserve(session, limits, wanted, now)
                except (TooLarge, TooMany) as hit:
                    raise SourceRefused(Refusal.LIMIT, str(hit)) from None
            held(session, self.claim)
            self._check_sum(session, source, found.size)
            row = session.get_one(PullSource, (pull.id, source.number))
            row.size, row.etag, row.version_id = found.size, found.etag, found.version_id
            if owned is not None:
                row.state, row.file_id, row.bytes_done = SourceState.DONE.value, owned, found.size
                row.sha256, row.secret = source.expected_sha256, None
                return None
            file = UploadedFile(
                id=(file_id := str(uuid.uuid4())),
                batch_id=pull.id,
                group_id=pull.group_id,
                uploader=pull.asked_by,
                key=key_of(pull.id, file_id) if pull.by_reference else f"incoming/{pull.id}/{file_id}",
                declared_size=found.size,
                declared_sha256=source.expected_sha256,
                multipart_upload_id=multipart.NOT_STARTED if cut else None,
                multipart_part_size=part if cut else None,
                part_hashes=cut,
                requested_at=now,
                expires_at=now + house.settings.urls.upload_expires_after_hours * HOUR,
            )
            session.add(file)
            row.state, row.file_id = SourceState.PULLING.value, file_id
        source.size, source.etag, source.version_id, source.file_id = found.size, found.etag, found.version_id, file.id
        return file

    def _owned(self, session: Session, source: PullSource, found: ForeignObject) -> str | None:
        """The ID of a file of the group with the declared SHA-256: then nothing needs to be sent."""
        if source.expected_sha256 is None or self.pull.by_reference:
            return None
        file = WantedFile(source.name, found.size, source.expected_sha256)
        return owned_by(session, self.pull.group_id, [file]).get((source.expected_sha256, found.size))

    def _check_sum(self, session: Session, source: PullSource, size: int) -> None:
        others = select(func.coalesce(func.sum(PullSource.size), 0)).where(
            PullSource.pull_id == self.pull.id, PullSource.number != source.number
        )
        limit = self.house.settings.pulls.bytes_per_request
        if (session.exec(others).one() or 0) + size > limit:
            raise SourceRefused(Refusal.LIMIT, f"The files of one pull may have {limit} bytes.")


def pinned(source: PullSource) -> ForeignObject:
    """What a source was when it was first looked at."""
    if source.size is None or source.etag is None:
        raise ProcessingFailure("import", "a source is not pinned")
    return ForeignObject(source.size, source.etag, source.version_id)


def _listed(pull: Pull, number: int, key: str) -> PullSource:
    """The row of an object under a prefix; one whose name no file may have fails at once."""
    name = key.rpartition("/")[2]
    row = PullSource(
        pull_id=pull.id, number=number, name=name, place=key, category=pull.category, state=SourceState.WAITING.value
    )
    if fault := filenames.fault_of(name):
        row.state, row.refusal, row.reason = SourceState.FAILED.value, Refusal.ADDRESS.value, fault
    return row
