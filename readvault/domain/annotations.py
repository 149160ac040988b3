"""What a submitter reads about a submission: where, what and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

MAX_LISTED = 100


class FieldType(StrEnum):
    """What kind of thing an annotation points at, in Loculus's words."""

    METADATA = "Metadata"
    NUCLEOTIDE_SEQUENCE = "NucleotideSequence"
    FILE = "File"


class Reason(StrEnum):
    """Why a submission was refused or warned about; counted, documented, stable."""

    EMPTY_FILE = "emptyFile"
    NO_READS = "noReads"
    UNKNOWN_FORMAT = "unknownFormat"
    WRONG_FORMAT = "wrongFormat"
    FORMAT_NOT_ALLOWED = "formatNotAllowed"
    UNKNOWN_REFERENCE = "unknownReference"
    TRUNCATED_FILE = "truncatedFile"
    CORRUPT_COMPRESSION = "corruptCompression"
    COMPRESSION_BOMB = "compressionBomb"
    MALFORMED_RECORD = "malformedRecord"
    INVALID_BASE = "invalidBase"
    INVALID_QUALITY = "invalidQuality"
    QUALITY_ENCODING = "qualityEncoding"
    LINE_ENDS = "lineEnds"
    DUPLICATE_READ_NAME = "duplicateReadName"
    REPEATED_FILE = "repeatedFile"
    UNPAIRED_MATES = "unpairedMates"
    TOO_MANY_FILES = "tooManyFiles"
    RECORD_TOO_LONG = "recordTooLong"
    PLATFORM_MISMATCH = "platformMismatch"
    WRONG_SIZE = "wrongSize"
    WRONG_HASH = "wrongHash"
    REFERENCE_LOST = "referenceLost"
    TOO_MUCH_HUMAN = "tooMuchHuman"
    UNSCREENABLE_READS = "unscreenableReads"
    NO_READS_LEFT = "noReadsLeft"
    FEW_MAPPED_READS = "fewMappedReads"
    LOW_BREADTH = "lowBreadth"
    LOW_DEPTH = "lowDepth"
    AMBIGUOUS_BASES = "ambiguousBases"
    MIXED_SITES = "mixedSites"
    UNRESOLVED_INSERTION = "unresolvedInsertion"
    CONSENSUS_DISAGREES = "consensusDisagrees"
    MIXED_REFERENCES = "mixedReferences"
    PRIMER_SCHEME = "primerScheme"
    DROPPED_AMPLICONS = "droppedAmplicons"
    UNKNOWN_FRAMESHIFTS = "unknownFrameshifts"
    FILE_IN_OTHER_ENTRY = "fileInOtherEntry"
    INVALID_CONSENSUS = "invalidConsensus"
    MISSING_METADATA = "missingMetadata"
    INVALID_METADATA = "invalidMetadata"
    UNREADABLE_FILE = "unreadableFile"
    MORE_FAULTS = "moreFaults"
    EXTERNAL_PIPELINE = "externalPipeline"


@dataclass(frozen=True, slots=True)
class Field:
    """A metadata field, segment or file category that an annotation points at."""

    type: FieldType
    name: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """One fault or warning. `record` and `line` are 1-based; `file` is the submitter's own label.

    `processed_fields` are the fields of the processed data, where they are others than `fields`.
    """

    reason: Reason
    message: str
    fields: tuple[Field, ...] = ()
    file: str | None = None
    record: int | None = None
    line: int | None = None
    processed_fields: tuple[Field, ...] | None = None

    @property
    def public_message(self) -> str:
        """The message without the submitter's label for the file: a word takes its place."""
        return self.message.replace(self.file, "the file") if self.file else self.message

    def as_json(self) -> dict[str, Any]:
        """The annotation in Loculus's wire shape, with our extra keys beside it."""
        return {
            "unprocessedFields": _wire(self.fields),
            "processedFields": _wire(self.fields if self.processed_fields is None else self.processed_fields),
            "message": self.message,
            "reason": str(self.reason),
            "file": self.file,
            "record": self.record,
            "line": self.line,
        }

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> Annotation:
        """What `as_json` wrote."""
        unprocessed, processed = (
            tuple(Field(FieldType(field["type"]), field["name"]) for field in content[key])
            for key in ("unprocessedFields", "processedFields")
        )
        place = {key: content[key] for key in ("file", "record", "line")}
        same = None if processed == unprocessed else processed
        return cls(Reason(content["reason"]), content["message"], unprocessed, **place, processed_fields=same)

    def pointing_at(self, *fields: Field) -> Annotation:
        """The same annotation, pointing at these fields."""
        return replace(self, fields=fields)


def _wire(fields: tuple[Field, ...]) -> list[dict[str, str]]:
    return [{"type": str(field.type), "name": field.name} for field in fields]


def first_listed(annotations: Iterable[Annotation], limit: int = MAX_LISTED) -> tuple[Annotation, ...]:
    """The first `limit` annotations, and one more that counts the rest."""
    everything = tuple(annotations)
    if len(everything) <= limit:
        return everything
    rest = len(everything) - limit
    return (*everything[:limit], Annotation(Reason.MORE_FAULTS, f"{rest} more faults are not listed."))
