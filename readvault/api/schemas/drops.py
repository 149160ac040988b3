"""The wire shapes of drop links and of what came through them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from readvault.api.dependencies import Text
from readvault.api.schemas.wire import MAX_SIZE, Sha256, Wire, when
from readvault.domain.reads import FileFormat
from readvault.ports import SignedRequest
from readvault.services.drops.announcing import Purpose, Ticket
from readvault.services.drops.delivering import Progress
from readvault.services.drops.forms import FormTicket
from readvault.services.drops.links import LinkView, Wish
from readvault.services.drops.unclaimed import Unclaimed
from readvault.services.uploads.answers import PARTS_PER_PAGE, SignedPart, WantedFile
from readvault.services.uploads.multipart import MAX_PARTS

Name = Annotated[Text, Field(min_length=1, max_length=255)]
Category = Annotated[Text, Field(min_length=1, max_length=100)]
Quota = Annotated[int, Field(ge=1, le=MAX_SIZE)]


class DropLinkWish(Wire):
    """What a link shall be for; what isn't said is as wide as the instance allows."""

    label: Annotated[Text, Field(min_length=1, max_length=100)]
    expires_in_days: Annotated[int, Field(ge=1, le=365)] = 14
    organism: Annotated[Text, Field(min_length=1, max_length=100)] | None = None
    categories: Annotated[list[Category], Field(max_length=50)] | None = None
    formats: Annotated[list[FileFormat], Field(max_length=10)] | None = None
    bytes_quota: Quota | None = None
    objects_quota: Annotated[int, Field(ge=1, le=100_000)] | None = None

    def wish(self) -> Wish:
        """As the service takes it."""
        return Wish(
            label=self.label,
            days=self.expires_in_days,
            organism=self.organism,
            categories=None if self.categories is None else tuple(self.categories),
            formats=None if self.formats is None else tuple(self.formats),
            bytes_quota=self.bytes_quota,
            objects_quota=self.objects_quota,
        )


class DropLinkInfo(Wire):
    """A link without its token. Sizes are bytes."""

    id: str
    group_id: int
    label: str
    organism: str | None
    categories: list[str] | None
    formats: list[str] | None
    bytes_quota: int
    objects_quota: int
    used_bytes: int
    used_objects: int
    created_by: str
    created_at: str
    expires_at: str
    revoked_at: str | None

    @classmethod
    def of(cls, view: LinkView) -> DropLinkInfo:
        """As it goes over the wire: times as ISO 8601, UTC."""
        return cls(
            id=view.id,
            group_id=view.group_id,
            label=view.label,
            organism=view.organism,
            categories=None if view.categories is None else list(view.categories),
            formats=None if view.formats is None else list(view.formats),
            bytes_quota=view.bytes_quota,
            objects_quota=view.objects_quota,
            used_bytes=view.used_bytes,
            used_objects=view.used_objects,
            created_by=view.created_by,
            created_at=when(view.created_at),
            expires_at=when(view.expires_at),
            revoked_at=None if view.revoked_at is None else when(view.revoked_at),
        )


class NewDropLink(DropLinkInfo):
    """A link that was just made. `token` and `url` are told this once; null when an earlier request with the
    same Idempotency-Key made it. The token is behind the `#` of the URL, which browsers send to nobody."""

    token: str | None
    url: str | None


class UnclaimedFile(Wire):
    """A file that came through a link and that no entry has. Metadata name it as `drop:<objectName>`."""

    object_name: str
    name: str
    category: str | None
    link_id: str
    link_label: str
    size: int
    sha256: str | None
    """As its sender declared it; null when nothing was declared. Ours is computed when an entry has it."""
    arrived_at: str
    expires_at: str

    @classmethod
    def of(cls, file: Unclaimed) -> UnclaimedFile:
        return cls(
            object_name=file.object_name,
            name=file.name,
            category=file.category,
            link_id=file.link_id,
            link_label=file.link_label,
            size=file.size,
            sha256=file.sha256,
            arrived_at=when(file.arrived_at),
            expires_at=when(file.expires_at),
        )


class DropPurpose(Wire):
    """What a link takes. Sizes are bytes."""

    expires_at: str
    categories: list[str]
    formats: list[str] | None
    largest_file: int
    parts_from: int

    @classmethod
    def of(cls, purpose: Purpose) -> DropPurpose:
        return cls(
            expires_at=when(purpose.expires_at),
            categories=list(purpose.categories),
            formats=None if purpose.formats is None else list(purpose.formats),
            largest_file=purpose.largest_file,
            parts_from=purpose.parts_from,
        )


class Announcement(Wire):
    """A file that the holder of a link is about to deliver. `size` counts bytes."""

    name: Name
    size: Annotated[int, Field(ge=1, le=MAX_SIZE)]
    sha256: Sha256 | None = None
    category: Category | None = None
    multipart: bool = False

    def wanted(self) -> WantedFile:
        """As the service takes it."""
        return WantedFile(self.name, self.size, self.sha256, self.category)


class FormAnnouncement(Wire):
    """A file that somebody will send with an HTML form."""

    name: Name
    max_bytes: Annotated[int, Field(ge=1, le=MAX_SIZE)] | None = None
    category: Category | None = None


class PartNumbers(Wire):
    """Which parts shall be signed, from 1."""

    numbers: Annotated[list[Annotated[int, Field(ge=1, le=MAX_PARTS)]], Field(min_length=1, max_length=PARTS_PER_PAGE)]


class DropRequest(Wire):
    """A signed PUT: every header must be sent as given."""

    url: str
    headers: dict[str, str]

    @classmethod
    def of(cls, request: SignedRequest) -> DropRequest:
        return cls(url=request.url, headers=request.headers)


class DropPart(DropRequest):
    """A signed PUT of one part."""

    number: int

    @classmethod
    def signed(cls, part: SignedPart) -> DropPart:
        return cls(number=part.number, url=part.request.url, headers=part.request.headers)


class DropTicket(Wire):
    """Where to put one file: `put` for one in a piece, otherwise its parts are signed on request."""

    object_name: str
    put: DropRequest | None
    part_size: int | None
    part_count: int | None

    @classmethod
    def of(cls, ticket: Ticket) -> DropTicket:
        return cls(
            object_name=ticket.object_name,
            put=None if ticket.put is None else DropRequest.of(ticket.put),
            part_size=ticket.part_size,
            part_count=ticket.part_count,
        )


class DropForm(Wire):
    """A form's address and hidden fields, all to be sent as given and before the field `file`."""

    object_name: str
    url: str
    fields: dict[str, str]
    max_bytes: int
    expires_at: str

    @classmethod
    def of(cls, ticket: FormTicket) -> DropForm:
        return cls(
            object_name=ticket.object_name,
            url=ticket.form.url,
            fields=ticket.form.fields,
            max_bytes=ticket.max_bytes,
            expires_at=when(ticket.expires_at),
        )


class DropProgress(Wire):
    """`open`, with the parts that miss of a file in parts, or `delivered`."""

    object_name: str
    state: str
    part_size: int | None
    part_count: int | None
    missing: list[int]

    @classmethod
    def of(cls, progress: Progress) -> DropProgress:
        return cls(
            object_name=progress.object_name,
            state=progress.state,
            part_size=progress.part_size,
            part_count=progress.part_count,
            missing=list(progress.missing),
        )
