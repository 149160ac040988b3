"""What is legal in an organism file, but seldom meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from readvault.config import Settings
from readvault.domain.organism import DEFAULT_THRESHOLDS, Dehumanize, MetadataField, Organism, Pipeline
from readvault.domain.processed_data import MEASURED
from readvault.yaml_files import Place

Doubt = tuple[Place, str, str]
"""Where, what, and what to do."""
FEW_FRAGMENTS = 3
RARE = 0.01


def doubts(organism: Organism, settings: Settings, genes: Mapping[str, Any]) -> Iterator[Doubt]:
    """All doubts about an organism whose file is right; `genes` are those of its genomes by name."""
    if organism.name != organism.name.lower():
        yield ("name",), "has capital letters, and stands in every path of the API", "Write it in lower case."
    yield from _dehumanization(organism.pipeline.dehumanize)
    yield from _thresholds(organism.pipeline)
    yield from _quality(organism.pipeline)
    yield from _genes(organism, genes)
    yield from _submission(organism, settings)
    yield from _metadata(organism)


def _dehumanization(rules: Dehumanize) -> Iterator[Doubt]:
    at: Place = ("pipeline", "dehumanize")
    if rules.off is not None:
        advice = "Right only where no reads of people can be: none of its files with reads is ever public."
        yield (*at, "off"), "reads are not screened for human sequence", advice
    elif rules.max_human_fraction == 1 and rules.max_human_bases is None:
        yield (*at, "maxHumanFraction"), "no share of human reads is ever too much", "Choose a limit below 1."
    originals = rules.originals
    if originals.visibility == "public_if_no_hits":
        place = (*at, "originals", "visibility")
        if rules.off is not None or originals.shred_after_days is not None:
            yield place, "has no effect: where reads aren't screened or originals shredded none is public", "Remove it."
        else:
            yield (
                place,
                "two maintainers may open originals where no read is human",
                "Read docs/organisms.md before that.",
            )


def _thresholds(pipeline: Pipeline) -> Iterator[Doubt]:
    for platform, said in pipeline.platforms.items():
        at: Place = ("pipeline", "platforms", str(platform))
        usual = DEFAULT_THRESHOLDS[platform]
        if said.min_depth < FEW_FRAGMENTS:
            message = f"{said.min_depth} fragments decide about a base: one wrong read becomes the consensus"
            yield (*at, "minDepth"), message, f"Usual is {usual.min_depth}."
        if said.min_base_quality == 0:
            yield (*at, "minBaseQuality"), "bases of any quality count", f"Usual is {usual.min_base_quality}."
        if said.min_frequency < RARE:
            message = f"variants of {said.min_frequency:.2%} are rarer than errors of sequencing"
            yield (*at, "minFrequency"), message, f"Usual is {usual.min_frequency}."


def _quality(pipeline: Pipeline) -> Iterator[Doubt]:
    at: Place = ("pipeline", "qc")
    if pipeline.qc.on_error == "label":
        yield (*at, "onError"), "what fails the rules of quality can be released", "Tell whoever uses the data."
    if pipeline.qc.rules != "default":
        if not any(rule.error for rule in pipeline.qc.rules):
            yield at, "no rule has an error limit: nothing is ever refused for its quality", "Give one an error limit."
        for number, rule in enumerate(pipeline.qc.rules):
            if rule.warn is None and rule.error is None:
                place = (*at, "rules", number)
                yield place, f"the rule about {rule.metric} has no limit and never strikes", "Add warn or error."
    if "report" not in pipeline.outputs:
        yield ("pipeline", "outputs"), "no report is made: reviewers see figures only", "Add report."


def _genes(organism: Organism, genes: Mapping[str, Any]) -> Iterator[Doubt]:
    for number, event in enumerate(organism.pipeline.known_frameshifts):
        gene = event.partition(":")[0]
        if gene not in genes:
            near = f"The genes are {', '.join(sorted(genes))}." if genes else "The reference has no genes (GFF3)."
            yield ("pipeline", "knownFrameshifts", number), f"there is no gene {gene!r}", near


def _submission(organism: Organism, settings: Settings) -> Iterator[Doubt]:
    rules, limits = organism.submission, settings.limits
    if rules.consensus_sequences == "forbidden" and not rules.files:
        yield ("submission",), "neither sequences nor files can be submitted", "Allow one of them."
    if rules.files and not any(category.may_contain_reads for category in rules.files.values()):
        yield (
            ("submission", "files"),
            "no category may contain reads: nothing is ever processed",
            "See mayContainReads.",
        )
    for name, category in rules.files.items():
        if category.max_bytes_per_file > min(limits.bytes_per_group, limits.bytes_per_user):
            place = ("submission", "files", name, "maxBytesPerFile")
            yield place, "is more than a group or user may have in all", "See READVAULT_LIMITS__ in docs/settings.md."


def _metadata(organism: Organism) -> Iterator[Doubt]:
    measured = {field.name for field in MEASURED}
    external = organism.pipeline.external
    found_outside = {field.name for field in external.metadata} if external else set()
    required_files = {f"files.{name}" for name, each in organism.submission.files.items() if each.required}
    by_name = {field.name: field for field in organism.metadata}
    for number, field in enumerate(organism.metadata):
        at: Place = ("metadata", number)
        if field.name in found_outside:
            yield at, f"{field.name}: the external pipeline overwrites what submitters say", "Rename one of them."
        elif field.name in measured - {"platform", "primerScheme"}:
            yield at, f"{field.name}: what is measured stands in place of what submitters say", "Rename the field."
        yield from _conditions(at, field, by_name, required_files)
        if len(set(field.options)) < len(field.options):
            yield (*at, "options"), f"{field.name}: an option stands twice", "Keep one of them."
        if len(set(field.options)) == 1 and field.required:
            yield (*at, "options"), f"{field.name}: there is nothing to choose, but it must be given", "Is it needed?"
    for number, each in enumerate(external.metadata if external else ()):
        if each.required or each.required_when:
            place = ("pipeline", "external", "metadata", number)
            yield place, f"{each.name}: is required, but no submitter can give it", "Remove required."


def _conditions(
    at: Place, field: MetadataField, by_name: Mapping[str, MetadataField], required_files: set[str]
) -> Iterator[Doubt]:
    place = (*at, "requiredWhen")
    if field.required and field.required_when:
        yield place, f"{field.name}: is required anyway", "Remove required or requiredWhen."
        return
    for condition in field.required_when:
        name, equals, _ = condition.partition("=")
        if condition in required_files or (not equals and name in by_name and by_name[name].required):
            yield place, f"{field.name}: {condition} is always given, so the field is always required", "Say required."
