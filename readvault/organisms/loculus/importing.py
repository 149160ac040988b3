"""Organism files, references and a report from a Loculus configuration."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from readvault.domain.errors import NotReady
from readvault.domain.organism import RESERVED_NAMES
from readvault.domain.reads import READ_LEVEL, ProcessedCategory
from readvault.organisms.loculus.fields import Fields
from readvault.organisms.loculus.genomes import (
    Genome,
    Sequence,
    genomes_of,
    letters_of,
    mappings,
    record,
    segments_of,
    word,
)
from readvault.organisms.loculus.notes import Notes, Outcome
from readvault.organisms.loculus.proteins import Place, gff3, place_of
from readvault.organisms.loculus.source import organisms_in
from readvault.organisms.loculus.writing import write_new
from readvault.reads.references import BASES

REPORT = "import-report.md"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
_CATEGORY = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,59}")
_SCHEMA_TAKEN = frozenset(
    {
        *("organismName", "instanceName", "metadata", "metadataAdd", "extraInputFields", "inputFields"),
        *("submissionDataTypes", "files", "externalMetadata", "nucleotideSequences"),
    }
)
_ORGANISM_TAKEN = frozenset({"schema", "referenceGenomes", "referenceGenome", "preprocessing", "enabled"})
_WHY = {
    "ingest": "readvault ingests nothing from elsewhere",
    "enaDeposition": "readvault deposits nothing; a program may, and fill in externalMetadata",
    "website": "is for the website",
    "metadataTemplate": "the template has all columns",
    "earliestReleaseDate": "readvault has the date of its own release only",
}

Fetch = Callable[[str], str]


@dataclass(slots=True)
class Imported:
    """What an import wrote, and what is still to be fetched: addresses by the file that they belong into."""

    organisms: list[str] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)
    to_fetch: dict[Path, list[str]] = field(default_factory=dict)
    references: set[Path] = field(default_factory=set)
    """The FASTA files of all genomes, also of those that are still to be fetched."""


def import_config(
    source: Path, out: Path, *, fetch: Fetch | None = None, external: Literal["instead", "after"] | None = None
) -> Imported:
    """Write an organism file for each organism, its references, and a report of what became of every key.

    Sequences that are given by their address are written only with `fetch`. With `external` the
    organism's preprocessing container stands instead of readvault's steps or after them, and the fields
    that it makes are declared. Raises NotReady for a source that can't be read, and when a file is there
    already: nothing is ever written over.
    """
    done = Imported()
    found = organisms_in(source, done.notes)
    folders = out / "organisms", out / "references"
    texts: dict[Path, str] = {}
    for name, raw in found.items():
        plain = _plain_name(name, {*found, *done.organisms} - {name}, done.notes)
        one = _Import(plain, raw, done, *folders, fetch)
        texts |= one.texts(source.name, external)
    texts[out / REPORT] = done.notes.as_markdown(source.name)
    write_new(texts, folders)
    return done


def _plain_name(name: str, taken: Set[str], notes: Notes) -> str:
    """The name as it may stand in the paths of the API, and as no other organism has it."""
    fits = _NAME.fullmatch(name) and name not in RESERVED_NAMES
    plain = name if fits else re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:40] or "organism"
    while not fits and (plain in RESERVED_NAMES or plain in taken):
        plain += "-organism"
    if plain != name:
        notes.add(plain, Outcome.APPROXIMATED, "name", f"{name!r} can't stand in a path of the API")
    return plain


class _Import:
    """One organism on its way."""

    def __init__(
        self, name: str, raw: Mapping[str, Any], done: Imported, organisms: Path, references: Path, fetch: Fetch | None
    ) -> None:
        self._name = name
        self._raw = raw
        self._schema: Mapping[str, Any] = raw["schema"]
        self._done = done
        self._note: Callable[..., None] = functools.partial(done.notes.add, name)
        self._organisms = organisms
        self._references = references
        self._fetch = fetch

    def texts(self, source: str, external: Literal["instead", "after"] | None) -> dict[Path, str]:
        """The files of the organism; none when it has no reference genome."""
        self._tell_what_is_left()
        genomes = genomes_of(self._raw.get("referenceGenomes", self._raw.get("referenceGenome")))
        if not genomes:
            self._note(Outcome.DROPPED, "referenceGenomes", "without a reference readvault can't process: no file made")
            return {}
        fields = Fields(self._name, segments_of(genomes), self._done.notes)
        fields.take(self._schema)
        content: dict[str, Any] = {"name": self._name}
        if title := self._schema.get("organismName") or self._schema.get("instanceName"):
            content["displayName"] = str(title)
        texts, placed = self._genomes(genomes)
        content |= placed
        content["submission"] = self._submission()
        if fields.submitted:
            content["metadata"] = list(fields.submitted.values())
            self._note(Outcome.MAPPED, "metadata", f"{len(fields.submitted)} fields of submitters")
        content["pipeline"] = self._pipeline(fields, external)
        if outside := self._external_metadata(fields):
            content["externalMetadata"] = outside
        text = "Until a host index is pinned nothing of it is processed: docs/organisms.md, 'Pinning a host index'"
        self._note(Outcome.TO_DO, "pipeline.dehumanize", text)
        heading = (
            f"# Written by `readvault admin import-config` from {source}; {REPORT} says what became of each key.\n"
        )
        path = self._organisms / f"{self._name}.yaml"
        texts[path] = heading + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
        self._done.organisms.append(self._name)
        return texts

    def _tell_what_is_left(self) -> None:
        for prefix, keys, taken in (("", self._raw, _ORGANISM_TAKEN), ("schema.", self._schema, _SCHEMA_TAKEN)):
            for key in keys:
                if key not in taken:
                    self._note(Outcome.DROPPED, prefix + str(key), _WHY.get(str(key), "is for the website or unknown"))

    def _genomes(self, genomes: list[Genome]) -> tuple[dict[Path, str], dict[str, Any]]:
        """The files of the genomes, and the key of the organism file that names them."""
        texts: dict[Path, str] = {}
        named: list[dict[str, Any]] = []
        for genome in genomes:
            stem = self._name if len(genomes) == 1 else f"{self._name}-{genome.name}"
            plain = re.sub(r"[^A-Za-z0-9_.+-]+", "-", genome.name).strip("-.+_") or "reference"
            stem = re.sub(r"[^A-Za-z0-9_.+-]+", "-", stem)
            while (fasta := self._references / f"{stem}.fasta") in self._done.references:
                stem += "-genome"  # another organism's, whose name is this one's with that of its reference
            self._done.references.add(fasta)
            place: dict[str, Any] = {"name": plain} if len(genomes) > 1 else {}
            place["fasta"] = f"../references/{fasta.name}"
            if len(genomes) > 1 and plain != genome.name:
                self._note(Outcome.APPROXIMATED, "referenceGenomes", f"the reference {genome.name!r} is named {plain}")
            segments = [self._letters(each, fasta) for each in genome.segments]
            if all(each is not None for each in segments):
                whole = [Sequence(word(each.name), each.letters) for each in segments if each is not None]
                texts[fasta] = "".join(map(record, whole))
                annotation = self._genes(genome, whole)
                if annotation:
                    texts[fasta.with_suffix(".gff3")] = annotation
                    place["genes"] = f"../references/{stem}.gff3"
            elif genome.proteins:
                text = "genes are placed once the sequences are there: import again with --fetch"
                self._note(Outcome.TO_DO, "referenceGenomes.genes", text, genome.name)
            named.append(place)
        self._note(Outcome.MAPPED, "referenceGenomes", f"{len(genomes)} genomes: {', '.join(g.name for g in genomes)}")
        return texts, {"reference": named[0]} if len(genomes) == 1 else {"references": named}

    def _letters(self, sequence: Sequence, into: Path | None) -> Sequence | None:
        """The sequence with its letters; None when they are elsewhere."""
        if sequence.letters:
            if into is not None and set(sequence.letters) - set(f"{BASES}U"):
                self._note(
                    Outcome.TO_DO, "referenceGenomes", "has letters that are no bases: correct it", sequence.name
                )
            return sequence
        if sequence.unknown:
            text = "its sequence is given in a way that is unknown here: put it into the FASTA"
            self._note(Outcome.TO_DO, "referenceGenomes", text, sequence.name)
            return None
        if self._fetch is None:
            if into is not None:
                self._done.to_fetch.setdefault(into, []).append(sequence.url)
                self._note(Outcome.TO_DO, "referenceGenomes", f"fetch {sequence.url} into {into.name}", sequence.name)
            return None
        fetched = self._fetch(sequence.url)
        if fetched.count(">") > 1:
            raise NotReady(f"{sequence.url} has more than one record")
        self._note(Outcome.MAPPED, "referenceGenomes", f"fetched {sequence.url}", sequence.name)
        return Sequence(sequence.name, letters_of(fetched))

    def _genes(self, genome: Genome, segments: list[Sequence]) -> str | None:
        """The genome's genes as GFF3: Loculus has proteins, readvault wants their places."""
        places: list[Place] = []
        for given in genome.proteins:
            protein = self._letters(given, None)
            if protein is None:
                self._note(Outcome.TO_DO, "referenceGenomes.genes", "its protein lies elsewhere: --fetch", given.name)
                continue
            place = place_of(protein, segments)
            if place is None or any(other.gene == place.gene for other in places):
                text = "no single reading frame says this protein (spliced, slipped or short): add it to the GFF3"
                self._note(Outcome.DROPPED, "referenceGenomes.genes", text, given.name)
                continue
            places.append(place)
            text = "placed where the genome says its protein: compare with an annotation"
            self._note(Outcome.APPROXIMATED, "referenceGenomes.genes", text, given.name)
        return gff3(places, segments) if places else None

    def _submission(self) -> dict[str, Any]:
        said = self._schema.get("submissionDataTypes")
        types: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
        files = types.get("files")
        listed = files.get("categories") if isinstance(files, Mapping) and files.get("enabled") else None
        names = [str(each["name"]) for each in mappings(listed) if each.get("name")]
        if not names:
            names = ["rawReads"]
            self._note(Outcome.TO_DO, "schema.submissionDataTypes.files", "none are given: rawReads was added")
        if types.get("maxSequencesPerEntry") is not None:
            text = "an entry has at most one sequence for each segment"
            self._note(Outcome.APPROXIMATED, "schema.submissionDataTypes.maxSequencesPerEntry", text)
        if types.get("consensusSequences") is False:
            rule = "forbidden"
            self._note(Outcome.MAPPED, "schema.submissionDataTypes.consensusSequences", rule)
        else:
            rule = "optional"
            text = "Loculus demands them; with reads they may be left out: see submission.consensusSequences"
            self._note(Outcome.APPROXIMATED, "schema.submissionDataTypes.consensusSequences", text)
        return {"consensusSequences": rule, "files": {name: {} for name in dict.fromkeys(names)}}

    def _pipeline(self, fields: Fields, external: Literal["instead", "after"] | None) -> dict[str, Any]:
        containers = mappings(self._raw.get("preprocessing"))
        versions = [n for each in containers for n in _versions(each.get("version"))]
        pipeline: dict[str, Any] = {"version": max(versions, default=1)}
        if versions:
            self._note(Outcome.MAPPED, "preprocessing.version", f"the newest: {pipeline['version']}")
        images = ", ".join(dict.fromkeys(str(each.get("image")) for each in containers if each.get("image")))
        outputs = [str(each["name"]) for each in mappings(self._schema.get("files")) if each.get("name")]
        if external is None:
            if images:
                text = f"readvault's own steps stand in place of {images}; --external keeps it"
                self._note(Outcome.DROPPED, "preprocessing", text)
            for name in fields.made:
                text = "was made by the preprocessing pipeline; --external declares it"
                self._note(Outcome.DROPPED, "metadata.noInput", text, name)
            for name in outputs:
                self._note(Outcome.DROPPED, "schema.files", "output of the preprocessing pipeline", name)
            return pipeline
        self._note(Outcome.TO_DO, "preprocessing", f"attach {images or 'the container'}: docs/maintainers.md")
        taken = set(ProcessedCategory) if external == "after" else READ_LEVEL
        for name in sorted(set(outputs) & set(map(str, taken))):
            self._note(Outcome.DROPPED, "schema.files", "readvault makes it itself", name)
        for name in outputs:
            if not _CATEGORY.fullmatch(name):
                self._note(Outcome.DROPPED, "schema.files", "can't be the name of a category here", name)
        known = set(map(str, taken))
        fitting = [name for name in outputs if _CATEGORY.fullmatch(name) and name not in known]
        categories = {name: {"mayContainReads": True} for name in fitting}
        for name in categories:
            text = "stays with the group; public only with mayContainReads: false"
            self._note(Outcome.APPROXIMATED, "schema.files", text, name)
        made = [each for name, each in fields.made.items() if name not in fields.submitted]
        self._note(Outcome.MAPPED, "metadata.noInput", f"{len(made)} fields of the external pipeline")
        return pipeline | {"external": {"mode": external, "files": categories, "metadata": made}}

    def _external_metadata(self, fields: Fields) -> list[dict[str, str]]:
        found = []
        for each in mappings(self._schema.get("externalMetadata")):
            name, updater = str(each.get("name", "")), str(each.get("externalMetadataUpdater", ""))
            if not name or not updater or name in fields.submitted:
                text = "has no name or no updater, or is a field of submitters"
                self._note(Outcome.DROPPED, "schema.externalMetadata", text, name or "(without name)")
                continue
            fields.made.pop(name, None)
            kind = str(each.get("type", "string"))
            kind = "string" if kind in ("timestamp", "pango_lineage") else kind
            found.append({"externalMetadataUpdater": updater, "name": name, "type": kind})
            self._note(Outcome.MAPPED, "schema.externalMetadata", "externalMetadata", name)
        return found


def _versions(said: Any) -> list[int]:
    """One version, or several for which one container is configured."""
    return [each for each in (said if isinstance(said, list) else [said]) if isinstance(each, int) and each > 0]
