"""The wire shapes of pulls. Credentials go in and never come out."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from readvault.api.dependencies import Text
from readvault.api.schemas.wire import MAX_SIZE, GroupId, Sha256, Wire, when
from readvault.db.tables import PullSource
from readvault.domain.errors import BadRequest
from readvault.ports import ForeignBucket, ForeignKeys
from readvault.services.pulls.asked import PullView, WantedPull, WantedSource
from readvault.services.pulls.referenced import Referenced

MAX_SOURCES = 10_000
Category = Annotated[Text, Field(max_length=100)]
Name = Annotated[Text, Field(min_length=1, max_length=255)]


class _FileToPull(Wire):
    """What may be said of a file: other bytes than `size` and `sha256` (hexadecimal) say are refused."""

    name: Name | None = None
    size: int | None = Field(None, ge=0, le=MAX_SIZE)
    sha256: Sha256 | None = None
    category: Category | None = None


class UrlToPull(_FileToPull):
    """A file by its https URL, pre-signed or public. What stands in its query is kept as a secret."""

    url: SecretStr = Field(min_length=1, max_length=8192)

    def wanted(self) -> WantedSource:
        """As the use case takes it."""
        return WantedSource(self.url.get_secret_value(), self.name, self.size, self.sha256, self.category)


class KeyToPull(_FileToPull):
    """A file by its key in the bucket."""

    key: Annotated[Text, Field(min_length=1, max_length=1024)]

    def wanted(self) -> WantedSource:
        """As the use case takes it."""
        return WantedSource(self.key, self.name, self.size, self.sha256, self.category)


class BucketToPull(Wire):
    """A bucket: at AWS by its region, elsewhere by its endpoint. Without keys it is one that everybody can read."""

    name: Annotated[Text, Field(min_length=3, max_length=63)]
    region: Annotated[Text, Field(min_length=1, max_length=40)] = "us-east-1"
    endpoint: Annotated[Text, Field(max_length=300)] | None = None
    access_key: SecretStr | None = Field(None, min_length=1, max_length=200)
    secret_key: SecretStr | None = Field(None, min_length=1, max_length=200)
    session_token: SecretStr | None = Field(None, min_length=1, max_length=8192)
    keys: list[KeyToPull] = Field([], max_length=MAX_SOURCES)
    prefix: Annotated[Text, Field(max_length=1024)] | None = None
    category: Category | None = None

    def bucket(self) -> ForeignBucket:
        """As the use case takes it; raises BadRequest for half a pair of keys."""
        keys = None
        if (self.access_key is None) != (self.secret_key is None) or (self.session_token and not self.access_key):
            raise BadRequest("Credentials are an accessKey and a secretKey, perhaps with a sessionToken.")
        if self.access_key is not None and self.secret_key is not None:
            token = None if self.session_token is None else self.session_token.get_secret_value()
            keys = ForeignKeys(self.access_key.get_secret_value(), self.secret_key.get_secret_value(), token)
        return ForeignBucket(self.endpoint or "", self.region, self.name, keys)


class PullRequest(Wire):
    """The body of `POST /pulls`: `urls`, or a `bucket` with `keys` or a `prefix`.

    With `keep: reference` the files stay where they are, where the instance allows it.
    """

    group_id: GroupId
    keep: Literal["copy", "reference"] = "copy"
    urls: list[UrlToPull] = Field([], max_length=MAX_SOURCES)
    bucket: BucketToPull | None = None

    def wanted(self) -> WantedPull:
        """As the use case takes it; raises BadRequest for URLs beside a bucket."""
        by_reference = self.keep == "reference"
        if self.bucket is None:
            return WantedPull(tuple(each.wanted() for each in self.urls), by_reference=by_reference)
        if self.urls:
            raise BadRequest("One pull takes URLs or a bucket, not both.")
        keys = tuple(each.wanted() for each in self.bucket.keys)
        wanted = WantedPull(keys, self.bucket.bucket(), self.bucket.prefix, self.bucket.category)
        return replace(wanted, by_reference=by_reference)


class ChallengeToPut(Wire):
    """An object to put beside the sources, with exactly this content, before the pull is started."""

    name: str
    content: str
    folders: list[str]


class SourceInfo(Wire):
    """One file of a pull. `fileId` is what submissions name, as soon as `state` is `done`."""

    number: int
    name: str
    place: str
    category: str | None
    state: str
    refusal: str | None
    reason: str | None
    size: int | None
    bytes_done: int
    sha256: str | None
    file_id: str | None

    @classmethod
    def of(cls, source: PullSource) -> SourceInfo:
        """As it goes over the wire; an ID is told of what is whole."""
        is_done = source.state == "done"
        return cls(
            number=source.number,
            name=source.name,
            place=source.place,
            category=source.category,
            state=source.state,
            refusal=source.refusal,
            reason=source.reason,
            size=source.size if source.size is not None else source.expected_size,
            bytes_done=source.bytes_done,
            sha256=source.sha256,
            file_id=source.file_id if is_done else None,
        )


class PullSummary(Wire):
    """A pull without its sources. `size` counts what is known so far; sizes are bytes."""

    id: str
    group_id: int
    state: str
    asked_by: str
    asked_at: str
    expires_at: str
    ended_at: str | None
    keep: str
    bucket: str | None
    size: int
    bytes_done: int

    @classmethod
    def of(cls, view: PullView) -> PullSummary:
        """As it goes over the wire."""
        return cls(**_about(view))


class PullInfo(PullSummary):
    """A pull, source by source. `cells` are what a submission writes into the columns `files.<category>`."""

    challenge: ChallengeToPut | None
    sources: list[SourceInfo]
    cells: dict[str, str]

    @classmethod
    def of(cls, view: PullView) -> PullInfo:
        """As it goes over the wire."""
        shown = None
        if (challenge := view.challenge) is not None:
            shown = ChallengeToPut(name=challenge.name, content=challenge.content, folders=list(challenge.folders))
        sources = [SourceInfo.of(each) for each in view.sources]
        return cls(**_about(view), challenge=shown, sources=sources, cells=_cells(sources))


class PullPage(Wire):
    """Pulls of a group, the newest first. `next` is the `after` of the next page, null at the end."""

    pulls: list[PullSummary]
    next: str | None


class ReferenceInfo(Wire):
    """A file that stays in a bucket of its group. `damage` says what was wrong when it was last read here."""

    file_id: str
    endpoint: str | None
    bucket: str | None
    place: str
    size: int
    sha256: str | None
    referenced_at: str
    checked_at: str | None
    damage: str | None

    @classmethod
    def of(cls, found: Referenced) -> ReferenceInfo:
        """As it goes over the wire."""
        return cls(
            file_id=found.where.file_id,
            endpoint=found.where.endpoint,
            bucket=found.where.bucket,
            place=found.where.place,
            size=found.size,
            sha256=found.sha256,
            referenced_at=when(found.where.referenced_at),
            checked_at=None if found.checked_at is None else when(found.checked_at),
            damage=found.damage,
        )


class ReferencePage(Wire):
    """A group's referenced files, by file ID. `next` is the `after` of the next page, null at the end."""

    references: list[ReferenceInfo]
    next: str | None


class NewCredentials(Wire):
    """The keys with which all that a group references in a bucket is read from now on. They are never shown again."""

    group_id: GroupId
    bucket: Annotated[Text, Field(min_length=3, max_length=63)]
    region: Annotated[Text, Field(min_length=1, max_length=40)] = "us-east-1"
    endpoint: Annotated[Text, Field(max_length=300)] | None = None
    access_key: SecretStr = Field(min_length=1, max_length=200)
    secret_key: SecretStr = Field(min_length=1, max_length=200)

    def wanted(self) -> ForeignBucket:
        """As the use case takes it."""
        keys = ForeignKeys(self.access_key.get_secret_value(), self.secret_key.get_secret_value())
        return ForeignBucket(self.endpoint or "", self.region, self.bucket, keys)


class RenewedCredentials(Wire):
    """How many files are read with the new keys."""

    files: int


def _about(view: PullView) -> dict[str, Any]:
    pull = view.pull
    return {
        "id": pull.id,
        "group_id": pull.group_id,
        "state": pull.state,
        "asked_by": pull.asked_by,
        "asked_at": when(pull.asked_at),
        "expires_at": when(pull.expires_at),
        "ended_at": None if pull.ended_at is None else when(pull.ended_at),
        "keep": "reference" if pull.by_reference else "copy",
        "bucket": pull.bucket,
        "size": view.size,
        "bytes_done": view.bytes_done,
    }


def _cells(sources: list[SourceInfo]) -> dict[str, str]:
    by_category: dict[str, list[str]] = {}
    for each in sources:
        if each.file_id is not None and each.category is not None:
            by_category.setdefault(each.category, []).append(f"{each.name}:{each.file_id}")
    return {category: " ".join(cells) for category, cells in by_category.items()}
