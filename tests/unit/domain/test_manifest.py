"""The manifest says what an entry is, the same way in every stack."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from readvault.domain import manifest
from readvault.domain.annotations import Annotation, Field, FieldType, Reason
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import ProcessingResult

FILES = [("variants", "variants.vcf.gz", 7, "b" * 64), ("consensus", "consensus.fasta", 5, "a" * 64)]


def _build(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "organism": "sars-cov-2",
        "pipeline_version": 1,
        "metadata": {"country": "Côte d'Ivoire", "date": "2020-01-01", "depthOfCoverage": 12.5},
        "sequences": {"main": "ACGT"},
        "consensus_source": "reads",
        "files": FILES,
        "processing_result": ProcessingResult.NO_ISSUES,
        "errors": (),
        "warnings": (),
        "screened": True,
        "provenance": {"tools": {"minimap2": "2.31"}, "inputs": []},
    }
    name = changes.pop("name", "LOC_000001Y")
    return manifest.build(AccessionVersion(name, 1), **(fields | changes))


def test_the_digest_is_that_of_known_bytes() -> None:
    body = manifest.canonical({"b": [1, "é"], "a": {"z": None, "y": 0.5}})
    assert body == '{"a":{"y":0.5,"z":null},"b":[1,"é"]}'.encode()
    assert manifest.digest(body) == hashlib.sha256(body).hexdigest()


def test_the_same_result_has_the_same_bytes_in_whatever_order_it_was_put_together() -> None:
    inputs = [{"category": "rawReads", "size": n, "sha256": str(n) * 64} for n in range(4)]
    expected = manifest.canonical(_build(provenance={"tools": {}, "inputs": inputs}))
    for seed in range(5):
        shuffle = random.Random(seed).sample
        other = _build(
            files=shuffle(FILES, len(FILES)),
            metadata=dict(shuffle(list(_build()["metadata"].items()), 3)),
            provenance={"inputs": shuffle(inputs, 4), "tools": {}},
        )
        assert manifest.canonical(other) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"organism": "rsv-b"},
        {"pipeline_version": 2},
        {"metadata": {}},
        {"sequences": {"main": "ACGA"}},
        {"consensus_source": "submitted"},
        {"files": FILES[:1]},
        {"files": [FILES[0], (*FILES[1][:3], "c" * 64)]},
        {"processing_result": ProcessingResult.HAS_ERRORS},
        {"screened": False},
        {"warnings": [Annotation(Reason.LOW_DEPTH, "The depth is low.")]},
        {"provenance": {"tools": {"minimap2": "2.32"}, "inputs": []}},
    ],
)
def test_whatever_people_approve_changes_the_digest(changes: dict[str, Any]) -> None:
    assert manifest.canonical(_build(**changes)) != manifest.canonical(_build())


def test_sequences_enter_by_digest_and_soft_masking_makes_no_difference() -> None:
    body = _build(sequences={"main": "acgT", "missing": None})
    assert body["sequences"] == {"main": hashlib.sha256(b"ACGT").hexdigest()}


def test_annotations_enter_with_their_place_and_without_the_submitters_file_names() -> None:
    fault = Annotation(
        Reason.TRUNCATED_FILE,
        "patient_smith.fastq.gz ends early.",
        (Field(FieldType.FILE, "rawReads"),),
        file="patient_smith.fastq.gz",
        record=3,
        line=12,
    )
    body = _build(errors=[fault], processing_result=ProcessingResult.HAS_ERRORS)
    assert "smith" not in json.dumps(body)
    assert body["private"]["errors"] == [
        {
            "reason": "truncatedFile",
            "message": "the file ends early.",
            "fields": [{"type": "File", "name": "rawReads"}],
            "record": 3,
            "line": 12,
        }
    ]


def test_two_files_of_one_category_cannot_share_a_name() -> None:
    with pytest.raises(ValueError, match="same name"):
        _build(files=[FILES[0], (*FILES[0][:2], 9, "c" * 64)])


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_json_cannot_say_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        manifest.canonical(_build(metadata={"depthOfCoverage": number}))


# Letters that JSON, sorting or UTF-8 treat in different ways; all of Unicode would take seconds to list.
_text = st.text(st.sampled_from('aZ09 "\\/\n\t\x00\x7f\x80é\u2028\ud7ff\ue000\uffff\U0001f9ec\U0010ffff'))
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(_text, _json, max_size=4))
def test_canonical_json_reads_back_and_is_its_own_canonical_form(value: dict[str, Any]) -> None:
    body = manifest.canonical(value)
    assert json.loads(body) == value
    assert manifest.canonical(json.loads(body)) == body


SECRETS: dict[str, Any] = {
    "provenance": {"tools": {}, "inputs": [{"category": "rawReads", "size": 4711, "sha256": "d" * 64}]},
    "withheld": [("rawReads", "patient_smith.fastq.gz", 4711, "e" * 64)],
    "warnings": [Annotation(Reason.FILE_IN_OTHER_ENTRY, "The entry LOC_000002W has the same file.")],
}


def test_what_everybody_reads_has_nothing_of_the_private_document_but_its_digest() -> None:
    built = _build(**SECRETS)
    body = manifest.canonical(built).decode()
    for secret in ("d" * 64, "e" * 64, "smith", "4711", "LOC_000002W"):
        assert secret not in body
        assert secret in manifest.private(built).decode()
    assert json.loads(body)["privateSha256"] == manifest.digest(manifest.private(built))


@pytest.mark.parametrize("changed", sorted(SECRETS))
def test_the_approved_digest_covers_the_private_document_too(changed: str) -> None:
    assert manifest.canonical(_build(**{changed: SECRETS[changed]})) != manifest.canonical(_build())


def test_equal_originals_of_two_entries_cannot_be_seen_by_equal_digests() -> None:
    other = _build(name="LOC_000002W", **SECRETS)
    assert manifest.private(other) != manifest.private(_build(**SECRETS))


def test_withheld_files_are_counted_among_all_and_share_no_name_with_published_ones() -> None:
    built = _build(withheld=[("rawReads", "r.fastq", 1, "f" * 64)])
    assert [file["name"] for file in built["files"]] == ["consensus.fasta", "variants.vcf.gz"]
    assert [file["name"] for file in manifest.all_files(built)] == ["consensus.fasta", "r.fastq", "variants.vcf.gz"]
    with pytest.raises(ValueError, match="same name"):
        _build(withheld=[(*FILES[0][:2], 9, "c" * 64)])
