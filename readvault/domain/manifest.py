"""The manifest: canonical JSON of what an accession version *is* under one pipeline version.

Two fresh stacks give the same bytes for the same submission, so there is no clock, key, version ID,
file ID, attempt, host or path in it. Its digest is what people approve.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from readvault.domain.annotations import Annotation
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import ProcessingResult

SCHEMA = 1


def build(
    accession_version: AccessionVersion,
    *,
    organism: str,
    pipeline_version: int,
    metadata: Mapping[str, Any],
    sequences: Mapping[str, str | None],
    consensus_source: str | None,
    files: Iterable[tuple[str, str, int, str]],
    processing_result: ProcessingResult,
    errors: Iterable[Annotation],
    warnings: Iterable[Annotation],
    screened: bool,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest of one accession version.

    `sequences` holds unaligned nucleotide sequences by segment; only their SHA-256 enter. `files` are
    (category, name, size in bytes, SHA-256). `screened` says that every read of the files went
    through a complete screen for human reads. `provenance` holds `tools`, `parameters`,
    `referenceSha256`, `hostIndexSha256` and `inputs` (category, size, sha256). Annotations enter
    without the submitter's file labels. Raises ValueError when two files of one category have the
    same name.
    """
    return {
        "schema": SCHEMA,
        "accession": accession_version.accession,
        "version": accession_version.version,
        "organism": organism,
        "pipelineVersion": pipeline_version,
        "metadata": dict(metadata),
        "sequences": {name: sequence_digest(sequence) for name, sequence in sequences.items() if sequence},
        "consensusSource": consensus_source,
        "files": _files(files),
        "processingResult": processing_result.value,
        "errors": [_without_label(annotation) for annotation in errors],
        "warnings": [_without_label(annotation) for annotation in warnings],
        "screened": screened,
        "provenance": _provenance(provenance),
    }


def canonical(manifest: Mapping[str, Any]) -> bytes:
    """The one spelling of a manifest: keys sorted, no spaces, UTF-8.

    After RFC 8785, except that numbers are written as Python writes them (the shortest form that
    reads back the same). Raises ValueError for NaN and infinities, which JSON doesn't have.
    """
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def digest(body: bytes) -> str:
    """The SHA-256 (hexadecimal) of a canonical manifest."""
    return hashlib.sha256(body).hexdigest()


def sequence_digest(sequence: str) -> str:
    """The SHA-256 (hexadecimal) of a sequence in upper case, so that soft masking makes no difference."""
    return hashlib.sha256(sequence.upper().encode("ascii")).hexdigest()


def _files(files: Iterable[tuple[str, str, int, str]]) -> list[dict[str, Any]]:
    listed = sorted((str(category), name, size, sha256) for category, name, size, sha256 in files)
    if len({(category, name) for category, name, _, _ in listed}) != len(listed):
        raise ValueError("two files of one category have the same name")
    return [
        {"category": category, "name": name, "size": size, "sha256": sha256} for category, name, size, sha256 in listed
    ]


def _provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    # Two mates could change places between two listings of the same submission; their bytes can't.
    inputs = sorted(
        provenance.get("inputs", ()), key=lambda i: (str(i["category"]), str(i.get("sha256")), int(i["size"]))
    )
    return {**provenance, "inputs": inputs}


def _without_label(annotation: Annotation) -> dict[str, Any]:
    """An annotation as people approve it."""
    return {
        "reason": str(annotation.reason),
        "message": annotation.public_message,
        "fields": [{"type": str(field.type), "name": field.name} for field in annotation.fields],
        "record": annotation.record,
        "line": annotation.line,
    }
