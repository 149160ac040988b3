"""The wire shapes of screenings of released reads, of reads that are withheld, and of opened originals."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from readvault.api.dependencies import MAX_INT, Text
from readvault.api.schemas.wire import GroupId, Version, Wire, when
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import LONGEST_REASON
from readvault.domain.openings import State
from readvault.services.entries.withheld import Withheld
from readvault.services.release import opening
from readvault.services.release.opening import Opening
from readvault.services.screening import withholding
from readvault.services.screening.progress import Progress
from readvault.services.screening.withholding import WithheldResult

Names = Annotated[list[Annotated[Text, Field(max_length=300)]], Field(min_length=1, max_length=opening.MOST_VERSIONS)]
RowId = Annotated[int, Field(ge=0, le=MAX_INT)]


class ScreeningInfo(Wire):
    """The released results with reads of an organism, and one host index. A pair is two reads.

    `screened` of `results` went through it, `byProcessing` of them when they were processed; `withHits`
    had reads that hit it, `hits` in all.
    """

    organism: str
    index_sha256: str
    is_current: bool
    results: int
    screened: int
    by_processing: int
    with_hits: int
    hits: int
    queued: int
    needing_attention: int
    walked_at: str | None

    @classmethod
    def of(cls, found: Progress) -> ScreeningInfo:
        """As it goes over the wire."""
        return cls(
            organism=found.organism,
            index_sha256=found.index_sha256,
            is_current=found.is_current,
            results=found.results,
            screened=found.screened,
            by_processing=found.by_processing,
            with_hits=found.with_hits,
            hits=found.hits,
            queued=found.queued,
            needing_attention=found.needing_attention,
            walked_at=None if found.walked_at is None else when(found.walked_at),
        )


class WithheldQuery(Wire):
    """Which page of the results whose reads are withheld; `undecided`: only what waits for a person."""

    before: RowId | None = None
    undecided: bool = False
    size: Annotated[int, Field(ge=1, le=withholding.LARGEST_PAGE)] = 100


class WithheldInfo(Wire):
    """A published result whose reads are withheld: `hits` of `reads` hit an index, 0 where a person withheld them."""

    id: int
    organism: str
    accession: str
    version: int
    pipeline_version: int
    reason: str
    actor: str
    at: str
    reads: int
    hits: int
    is_current: bool
    is_decided: bool

    @classmethod
    def of(cls, found: WithheldResult) -> WithheldInfo:
        """As it goes over the wire."""
        return cls(
            id=found.id,
            organism=found.organism,
            accession=found.name.accession,
            version=found.name.version,
            pipeline_version=found.pipeline_version,
            reason=found.reason,
            actor=found.actor,
            at=when(found.at),
            reads=found.reads,
            hits=found.hits,
            is_current=found.is_current,
            is_decided=found.is_decided,
        )


class WithheldPage(Wire):
    """Results, newest first. `next` is the `before` of the next page, null at the end."""

    results: list[WithheldInfo]
    next: int | None


class DecisionInfo(Wire):
    """What holds for the reads of a result since a maintainer's decision."""

    accession: str
    version: int
    pipeline_version: int
    withheld: bool
    reason: str
    actor: str
    at: str

    @classmethod
    def of(cls, name: AccessionVersion, pipeline_version: int, done: Withheld, *, withheld: bool) -> DecisionInfo:
        """As it goes over the wire."""
        return cls(
            accession=name.accession,
            version=name.version,
            pipeline_version=pipeline_version,
            withheld=withheld,
            reason=done.reason,
            actor=done.actor,
            at=when(done.at),
        )


class OpeningRequest(Wire):
    """Which accession versions, as `LOC_000001Y.1`, and why. Of closed originals everybody reads the reason."""

    accession_versions: Names
    reason: Annotated[Text, Field(min_length=1, max_length=2 * LONGEST_REASON)]


class OpeningConfirmation(Wire):
    """Which accession versions another maintainer asked for."""

    accession_versions: Names


class OpeningQuery(Wire):
    """Which page of the openings, and in which state."""

    state: State | None = None
    before: RowId | None = None
    size: Annotated[int, Field(ge=1, le=opening.LARGEST_PAGE)] = 100


class OpeningInfo(Wire):
    """The originals of an accession version. `obstacle`: why nobody gets them although they are open; null for none."""

    id: int
    accession: str
    version: int
    state: str
    reason: str
    actor: str
    at: str
    files: int
    obstacle: str | None

    @classmethod
    def of(cls, found: Opening) -> OpeningInfo:
        """As it goes over the wire."""
        return cls(
            id=found.id,
            accession=found.name.accession,
            version=found.name.version,
            state=found.state.value,
            reason=found.reason,
            actor=found.actor,
            at=when(found.at),
            files=found.files,
            obstacle=found.obstacle,
        )


class OpeningPage(Wire):
    """Openings, newest first. `next` is the `before` of the next page, null at the end."""

    openings: list[OpeningInfo]
    next: int | None


class CandidateQuery(Wire):
    """Of which organism, and of which group; `after` is the `next` of the page before."""

    organism: Annotated[Text, Field(min_length=1, max_length=100)]
    group_id: GroupId | None = None
    after: Annotated[Text, Field(min_length=1, max_length=300)] | None = None
    size: Annotated[int, Field(ge=1, le=opening.LARGEST_PAGE)] = 100


class CandidatePage(Wire):
    """Accession versions whose originals could be opened. A page may be empty although `next` is not null."""

    entries: list[Version]
    next: str | None
