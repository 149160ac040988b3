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
    return manifest.build(AccessionVersion("LOC_000001Y", 1), **(fields | changes))


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
    assert body["errors"] == [
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
