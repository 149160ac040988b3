"""Which primer scheme is clipped, and whether the reads agree with the choice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from readvault.domain.annotations import Annotation, Field, FieldType, Reason
from readvault.domain.organism import Align, Organism
from readvault.reads import references
from readvault.reads.align import primers, scheme_evidence
from readvault.reads.sample import ChosenReference, PrimerSite, Sample

FIELD = Field(FieldType.METADATA, "primerScheme")
CUSTOM = "custom"
NOTHING = "none"
"""What a submitter writes who wants nothing clipped."""

ENOUGH_READS = 100
MANY = 0.3
FEW = 0.1
PILED = 0.5


@dataclass(frozen=True, slots=True)
class ChosenScheme:
    """The primers that are clipped: none of them when nothing was chosen, or nothing fits the reference."""

    name: str | None = None
    bed: Path | None = None
    sites: tuple[PrimerSite, ...] = ()
    warnings: tuple[Annotation, ...] = ()


def choose(sample: Sample, reference: ChosenReference, directory: Path) -> ChosenScheme:
    """The scheme that the sample brings, else that its metadata name, else the organism's; written to `directory`.

    An unknown name clips nothing and warns. Raises ProcessingFailure when a scheme is malformed.
    """
    align = sample.organism.pipeline.align
    name, bed = _named(sample, align)
    warnings = []
    if name is None and bed is None and sample.declared.primer_scheme and not _nothing(sample.declared.primer_scheme):
        warnings.append(_unknown(sample.declared.primer_scheme, align))
    if name is None or bed is None:
        return ChosenScheme(warnings=tuple(warnings))
    sites = _sites(bed, sample.organism, reference)
    if not sites:
        message = f"No primer of the scheme {name} is on the reference of this sample; nothing was clipped."
        return ChosenScheme(warnings=(Annotation(Reason.PRIMER_SCHEME, message, (FIELD,)),))
    fitted = directory / "primers.bed"
    primers.write_bed(sites, fitted)
    return ChosenScheme(name, fitted, sites)


def _named(sample: Sample, align: Align) -> tuple[str | None, Path | None]:
    if sample.primers is not None:
        return CUSTOM, sample.primers
    said = sample.declared.primer_scheme
    name = align.scheme_named(said) if said else align.default_scheme
    return (None, None) if name is None else (name, align.schemes[name])


def _nothing(said: str) -> bool:
    return said.strip().casefold() == NOTHING


def _unknown(said: str, align: Align) -> Annotation:
    known = ", ".join(sorted(align.schemes)) or "none"
    message = f"The primer scheme '{said}' is unknown, so nothing was clipped. Known: {known}."
    return Annotation(Reason.PRIMER_SCHEME, message, (FIELD,))


def doubts(bam: Path, chosen: ChosenScheme, organism: Organism, reference: ChosenReference) -> tuple[Annotation, ...]:
    """Whether the reads begin at the primers of another scheme, or in piles that are not at those of this one.

    Warns from 100 reads on. Reads that begin anywhere (a library cut at random) cause no doubt.
    """
    known = {
        name: sites
        for name, bed in organism.pipeline.align.schemes.items()
        if name != chosen.name and (sites := _sites(bed, organism, reference))
    }
    if not known and not chosen.sites:
        return ()
    found = scheme_evidence.beginnings(bam)
    if len(found) < ENOUGH_READS:
        return ()
    others = {name: scheme_evidence.share_at_primers(found, sites)[0] for name, sites in known.items()}
    best = max(others, key=lambda name: others[name], default=None)
    many = best is not None and others[best] >= MANY
    if chosen.name is None:
        message = f"{others[best]:.0%} of the reads begin at primers of {best}" if best else ""
        return (_doubt(f"{message}, but no primer scheme was clipped: was it {best}?"),) if many else ()
    at, behind = scheme_evidence.share_at_primers(found, chosen.sites)
    if best is not None and many and others[best] >= 2 * (at + behind):
        there = f"{others[best]:.0%} at primers of {best}"
        return (_doubt(f"Only {at:.0%} of the reads begin at primers of {chosen.name}, but {there}: a wrong scheme?"),)
    if at + behind < FEW and scheme_evidence.share_in_piles(found) >= PILED:
        text = "although they begin in piles, as those of amplicons do: a wrong scheme?"
        return (_doubt(f"Only {at:.0%} of the reads begin at primers of {chosen.name}, {text}"),)
    return ()


def _doubt(message: str) -> Annotation:
    return Annotation(Reason.PRIMER_SCHEME, message, (FIELD,))


def _sites(bed: Path, organism: Organism, reference: ChosenReference) -> tuple[PrimerSite, ...]:
    """The scheme's sites on this sample's reference; of several references only those of the chosen ones' records."""
    if not reference.names:
        return primers.load_primers(bed, reference.segments)
    everything = tuple(s for candidate in organism.candidates for s in references.load_segments(candidate.fasta))
    names = {segment.name for segment in reference.segments}
    return tuple(site for site in primers.load_primers(bed, everything) if site.segment in names)
