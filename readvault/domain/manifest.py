"""The manifest: canonical JSON of what an accession version *is* under one pipeline version.

Two fresh stacks give the same bytes for the same submission, so there is no clock, key, version ID,
file ID, attempt, host or path in it. Its digest is what people approve.

A released manifest is for everybody, so what is the group's own stands in a second document, the
private one: digests of the originals, annotations (which may speak of other entries), and files that
are never published. The manifest holds that document's digest. So everybody can check the approved
digest against the manifest that they read, and the group can prove what the private part was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from readvault.domain.annotations import Annotation
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import ProcessingResult

SCHEMA = 2
PRIVATE = "private"
"""Where `build` keeps the private document; `canonical` writes `privateSha256` in its place."""


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
    withheld: Iterable[tuple[str, str, int, str]] = (),
) -> dict[str, Any]:
    """The manifest of one accession version, with its private document under `PRIVATE`.

    `sequences` holds unaligned nucleotide sequences by segment; only their SHA-256 enter. `files` are
    (category, name, size in bytes, SHA-256); those that are never published, not even after release,
    are `withheld` instead. `screened` says that every read of the files went through a complete
    screen for human reads. `provenance` holds `tools`, `parameters`, `referenceSha256`,
    `hostIndexSha256` and `inputs` (category, size, sha256), which enter the private document.
    Annotations do too, without the submitter's file labels. Raises ValueError when two files of one
    category have the same name.
    """
    published, kept_back = _files(files), _files(withheld)
    if len({(each["category"], each["name"]) for each in (*published, *kept_back)}) < len(published) + len(kept_back):
        raise ValueError("two files of one category have the same name")
    return {
        "schema": SCHEMA,
        "accession": accession_version.accession,
        "version": accession_version.version,
        "organism": organism,
        "pipelineVersion": pipeline_version,
        "metadata": dict(metadata),
        "sequences": {name: sequence_digest(sequence) for name, sequence in sequences.items() if sequence},
        "consensusSource": consensus_source,
        "files": published,
        "processingResult": processing_result.value,
        "screened": screened,
        "provenance": {key: value for key, value in provenance.items() if key != "inputs"},
        PRIVATE: {
            # They make the document another one for each entry: equal originals can't be seen by equal digests.
            "accession": accession_version.accession,
            "version": accession_version.version,
            "pipelineVersion": pipeline_version,
            "inputs": _inputs(provenance),
            "files": kept_back,
            "errors": [_without_label(annotation) for annotation in errors],
            "warnings": [_without_label(annotation) for annotation in warnings],
        },
    }


def canonical(manifest: Mapping[str, Any]) -> bytes:
    """The one spelling of a manifest: keys sorted, no spaces, UTF-8, the digest for the private document.

    After RFC 8785, except that numbers are written as Python writes them (the shortest form that
    reads back the same). Raises ValueError for NaN and infinities, which JSON doesn't have.
    """
    if PRIVATE in manifest:
        rest = {key: value for key, value in manifest.items() if key != PRIVATE}
        manifest = {**rest, "privateSha256": digest(private(manifest))}
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def private(manifest: Mapping[str, Any]) -> bytes:
    """The private document of a manifest in its one spelling: for the group, and to prove `privateSha256` with."""
    return canonical(manifest[PRIVATE])


def all_files(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files of a manifest that was just built, published or not, by category and name."""
    return sorted([*manifest["files"], *manifest[PRIVATE]["files"]], key=lambda f: (f["category"], f["name"]))


def digest(body: bytes) -> str:
    """The SHA-256 (hexadecimal) of a canonical manifest."""
    return hashlib.sha256(body).hexdigest()


def sequence_digest(sequence: str) -> str:
    """The SHA-256 (hexadecimal) of a sequence in upper case, so that soft masking makes no difference."""
    return hashlib.sha256(sequence.upper().encode("ascii")).hexdigest()


def _files(files: Iterable[tuple[str, str, int, str]]) -> list[dict[str, Any]]:
    listed = sorted((str(category), name, size, sha256) for category, name, size, sha256 in files)
    return [
        {"category": category, "name": name, "size": size, "sha256": sha256} for category, name, size, sha256 in listed
    ]


def _inputs(provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    # Two mates could change places between two listings of the same submission; their bytes can't.
    return sorted(
        provenance.get("inputs", ()), key=lambda i: (str(i["category"]), str(i.get("sha256")), int(i["size"]))
    )


def _without_label(annotation: Annotation) -> dict[str, Any]:
    """An annotation as people approve it."""
    return {
        "reason": str(annotation.reason),
        "message": annotation.public_message,
        "fields": [{"type": str(field.type), "name": field.name} for field in annotation.fields],
        "record": annotation.record,
        "line": annotation.line,
    }
