"""The manifest: canonical JSON of what an accession version *is* under one pipeline version.

Two fresh stacks give the same bytes for the same submission, so there is no clock, key, version ID,
file ID, attempt, host or path in it. Its digest is what people approve.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from readvault.domain.annotations import Annotation
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reports import OutputFile
from readvault.domain.status import ProcessingResult

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class InputFacts:
    """What is known of a submitted file, without its label. `size` counts bytes."""

    category: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """How the files were made: tool versions, parameters, and the digests of all that went in."""

    tools: Mapping[str, str]
    parameters: Mapping[str, Any]
    reference_sha256: str | None
    host_index_sha256: str | None
    inputs: tuple[InputFacts, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The provenance as plain values, inputs in a fixed order."""
        inputs = sorted(self.inputs, key=lambda i: (i.category, i.sha256, i.size))
        return {
            "tools": dict(self.tools),
            "parameters": dict(self.parameters),
            "referenceSha256": self.reference_sha256,
            "hostIndexSha256": self.host_index_sha256,
            "inputs": [{"category": i.category, "size": i.size, "sha256": i.sha256} for i in inputs],
        }


def build(
    accession_version: AccessionVersion,
    *,
    organism: str,
    pipeline_version: int,
    metadata: Mapping[str, Any],
    sequences: Mapping[str, str],
    consensus_source: str | None,
    files: Iterable[OutputFile],
    errors: Iterable[Annotation],
    warnings: Iterable[Annotation],
    screened: bool,
    provenance: Provenance,
) -> dict[str, Any]:
    """The manifest of one accession version.

    `sequences` holds unaligned nucleotide sequences by segment; only their SHA-256 enter.
    `screened` says that every read of the files went through a complete screen for human reads.
    Annotations enter with reason, message and place, without the submitter's file labels.
    Raises ValueError when two files of one category have the same name.
    """
    errors, warnings = tuple(errors), tuple(warnings)
    result = ProcessingResult.of(errors=bool(errors), warnings=bool(warnings))
    return {
        "schema": SCHEMA,
        "accession": accession_version.accession,
        "version": accession_version.version,
        "organism": organism,
        "pipelineVersion": pipeline_version,
        "metadata": dict(metadata),
        "sequences": {segment: sequence_digest(sequence) for segment, sequence in sequences.items()},
        "consensusSource": consensus_source,
        "files": _files(files),
        "processingResult": result.value,
        "errors": [_without_labels(a) for a in errors],
        "warnings": [_without_labels(a) for a in warnings],
        "screened": screened,
        "provenance": provenance.as_json(),
    }


def canonical(manifest: Mapping[str, Any]) -> bytes:
    """The one spelling of a manifest: keys sorted, no spaces, UTF-8.

    After RFC 8785. Keys are ours and ASCII, and numbers are written as Python writes them
    (shortest form that reads back the same), so that Python gives the same bytes everywhere.
    Raises ValueError for NaN and infinities, which JSON doesn't have.
    """
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def digest(body: bytes) -> str:
    """The SHA-256 (hexadecimal) of a canonical manifest."""
    return hashlib.sha256(body).hexdigest()


def sequence_digest(sequence: str) -> str:
    """The SHA-256 (hexadecimal) of a sequence in upper case, so that soft masking makes no difference."""
    return hashlib.sha256(sequence.upper().encode("ascii")).hexdigest()


def _files(files: Iterable[OutputFile]) -> list[dict[str, Any]]:
    listed = sorted(files, key=lambda f: (f.category, f.name))
    names = {(f.category, f.name) for f in listed}
    if len(names) != len(listed):
        raise ValueError("two files of one category have the same name")
    return [{"category": str(f.category), "name": f.name, "size": f.size, "sha256": f.sha256} for f in listed]


def _without_labels(annotation: Annotation) -> dict[str, Any]:
    """An annotation as people approve it. A label may stand in the message, so that one goes when it does."""
    message = annotation.message
    if annotation.file:
        message = message.replace(annotation.file, "(file)")
    return {
        "reason": str(annotation.reason),
        "message": message,
        "fields": [{"type": str(f.type), "name": f.name} for f in annotation.fields],
        "record": annotation.record,
        "line": annotation.line,
    }
