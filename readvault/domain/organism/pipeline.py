"""How an organism's reads are processed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from readvault.domain.organism.metadata_field import MetadataField
from readvault.domain.organism.parts import Fraction, SampleType, Strict
from readvault.domain.reads import READ_LEVEL, Platform, ProcessedCategory

SchemeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./+-]*$", max_length=60)]


class Originals(Strict):
    """Who may ever read the original files, and how long they are kept."""

    visibility: Literal["group", "public_if_no_hits"] = "group"
    shred_after_days: int | None = Field(None, ge=1)


class Rescreen(Strict):
    """How many reads of a released result may hit a newer host index before all of its reads are withheld."""

    max_human_reads: int = Field(10, ge=0)
    max_human_fraction: Fraction = 0.0001

    def is_over(self, hits: int, reads: int) -> bool:
        """Whether so many of `reads` are too many: one limit is enough."""
        return hits > self.max_human_reads or hits > self.max_human_fraction * reads


class Dehumanize(Strict):
    """How human reads are removed. `off` needs a written reason."""

    index: str | None = None
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    above: Literal["remove", "reject"] = "remove"
    max_human_fraction: Fraction = 0.5
    max_human_bases: int | None = Field(None, ge=0)
    publish: Literal["depleted", "mappedOnly"] = "depleted"
    originals: Originals = Originals()
    rescreen: Rescreen = Rescreen()
    off: str | None = Field(None, min_length=10)

    @model_validator(mode="after")
    def _an_index_is_pinned(self) -> Dehumanize:
        if self.index is not None and self.sha256 is None:
            raise ValueError("dehumanize.index needs dehumanize.sha256: an index is pinned by its digest")
        if self.index is not None and self.off is not None:
            raise ValueError("dehumanize has an index and is off at the same time")
        return self


class Align(Strict):
    """How reads are aligned."""

    preset: Literal["auto", "sr", "map-ont", "lr:hq", "map-hifi"] = "auto"
    primers: Path | None = None
    primer_schemes: dict[SchemeName, Path] = Field(default_factory=dict)

    @property
    def schemes(self) -> dict[str, Path]:
        """All primer schemes by name; one that is given as a file only is named after the file."""
        if self.default_scheme is None or self.primers is None or self.default_scheme in self.primer_schemes:
            return dict(self.primer_schemes)
        return {self.default_scheme: self.primers, **self.primer_schemes}

    @property
    def default_scheme(self) -> str | None:
        """The name of the scheme that is clipped when a submitter names none."""
        if self.primers is None or str(self.primers) in self.primer_schemes:
            return None if self.primers is None else str(self.primers)
        return self.primers.name.split(".")[0]

    def scheme_named(self, said: str) -> str | None:
        """The scheme that a submitter means: letter case, spaces, `_` and `-` make no difference."""
        return next((name for name in self.schemes if _plain(name) == _plain(said)), None)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


class PlatformThresholds(Strict):
    """From which depth, base quality and frequency an allele counts."""

    min_depth: int = Field(10, ge=1)
    min_base_quality: int = Field(20, ge=0, le=93)
    min_frequency: Fraction = 0.03
    homopolymer_indels: Literal["call", "ignore"] = "call"


DEFAULT_THRESHOLDS: dict[Platform, PlatformThresholds] = {
    Platform.ILLUMINA: PlatformThresholds(),
    Platform.OXFORD_NANOPORE: PlatformThresholds(
        min_depth=20, min_base_quality=10, min_frequency=0.2, homopolymer_indels="ignore"
    ),
    Platform.PACBIO_SMRT: PlatformThresholds(min_depth=5, min_base_quality=20, min_frequency=0.05),
}


class Consensus(Strict):
    """The share of a position's depth that an allele needs to be the consensus."""

    min_frequency: Annotated[float, Field(ge=0.5, le=1)] = 0.5


class Silo(Strict):
    """What a line of `siloReads` is, and from which base quality on a base says something in it."""

    mode: Literal["fragments", "reads"] = "fragments"
    min_base_quality: int | None = Field(None, ge=0, le=93)
    amino_acids: bool = False


Metric = Literal[
    "mappedReads",
    "mappedFraction",
    "breadthOfCoverage",
    "breadthAt10x",
    "medianDepth",
    "meanDepth",
    "ambiguousBases",
    "unknownBases",
    "mixedSites",
    "humanFraction",
    "unscreenableFraction",
    "consensusDisagreements",
    "consensusDisagreementFraction",
    "droppedAmpliconFraction",
    "unknownFrameshifts",
    "platformMismatch",
]
"""What a rule can look at."""
Limit = Annotated[str, Field(pattern=r"^\s*(<=|>=|==|<|>)\s*[0-9]+(\.[0-9]+)?\s*%?\s*$")]


class QcRule(Strict):
    """One rule: the metric, its limits (`< 0.9`, `> 5 %`), and what a submitter reads when it is broken."""

    metric: Metric
    warn: Limit | None = None
    error: Limit | None = None
    message: str
    platforms: tuple[Platform, ...] = ()
    sample_types: tuple[SampleType, ...] = ()

    def applies(self, platform: Platform | None, sample_type: SampleType) -> bool:
        """Whether the rule is meant for such a sample; a rule that names no platform is for all."""
        return (not self.platforms or platform in self.platforms) and (
            not self.sample_types or sample_type in self.sample_types
        )


class Qc(Strict):
    """The rules, and what a broken one means. A list of rules, or `default`, may stand in its place.

    With `block` whoever breaks the error limit of a rule can't be approved; with `label` it is a warning,
    and is released with the label visible in its metadata. What submitters did wrong is an error always.
    """

    on_error: Literal["block", "label"] = "block"
    rules: Literal["default"] | tuple[QcRule, ...] = "default"

    @model_validator(mode="before")
    @classmethod
    def _rules_alone(cls, said: Any) -> Any:
        return {"rules": said} if isinstance(said, str | list | tuple) else said

    @model_serializer(mode="wrap")
    def _as_it_was_before_there_were_labels(self, dump: SerializerFunctionWrapHandler) -> Any:
        """Manifests name the parameters: those of instances without labels keep their digests."""
        said = dump(self)
        return said if self.on_error == "label" else said["rules"]


class OutputCategory(Strict):
    """A file category that an external pipeline may send."""

    may_contain_reads: bool = True


class External(Strict):
    """A container that speaks Loculus's preprocessing protocol, instead of readvault's steps or after them."""

    mode: Literal["instead", "after"]
    timeout: float = Field(600, gt=0)
    files: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=60)], OutputCategory] = Field(
        default_factory=dict
    )
    metadata: tuple[MetadataField, ...] = ()

    @model_validator(mode="after")
    def _no_category_is_ours(self) -> External:
        taken = set(ProcessedCategory) if self.mode == "after" else READ_LEVEL
        if both := sorted(set(self.files) & taken):
            raise ValueError(f"external.files: readvault makes {', '.join(both)} itself")
        return self


class Reprocessing(Strict):
    """What happens to older results when `version` is raised, and when a new one takes an older one's place."""

    automatic: bool = True
    versions: Literal["all", "latest"] = "all"
    per_hour: int | None = Field(None, ge=1)
    switch: Literal["byRule", "byMaintainer"] = "byRule"
    breadth_tolerance: Fraction = 0.005


class Pipeline(Strict):
    """What the pipeline does with reads."""

    version: int = Field(1, ge=1)
    dehumanize: Dehumanize = Dehumanize()
    align: Align = Align()
    platforms: dict[Platform, PlatformThresholds] = Field(default_factory=dict)
    consensus: Consensus = Consensus()
    qc: Qc = Qc()
    mixtures_expected: bool = False
    known_frameshifts: tuple[str, ...] = ()
    silo: Silo = Silo()
    outputs: tuple[ProcessedCategory, ...] = tuple(ProcessedCategory)
    external: External | None = None
    reprocessing: Reprocessing = Reprocessing()

    @field_validator("outputs")
    @classmethod
    def _reads_can_be_screened_again(cls, outputs: tuple[ProcessedCategory, ...]) -> tuple[ProcessedCategory, ...]:
        """A newer host index looks for human reads in the FASTQ or the BAM, and withholds all reads by them."""
        if READ_LEVEL & set(outputs) == {ProcessedCategory.SILO_READS}:
            raise ValueError("outputs: siloReads need dehumanizedReads or alignment, where human reads are looked for")
        return outputs

    @field_validator("platforms")
    @classmethod
    def _what_is_not_said_is_as_shipped(
        cls, platforms: dict[Platform, PlatformThresholds]
    ) -> dict[Platform, PlatformThresholds]:
        """Fill in the platform's own values: a nanopore with one threshold of its own stays a nanopore."""
        return {
            platform: DEFAULT_THRESHOLDS[platform].model_copy(
                update={name: getattr(said, name) for name in said.model_fields_set}
            )
            for platform, said in platforms.items()
        }

    def thresholds(self, platform: Platform) -> PlatformThresholds:
        """The thresholds for a platform: this organism's, else the shipped ones."""
        return self.platforms.get(platform, DEFAULT_THRESHOLDS[platform])
