"""What a metadata field takes, and which fields make no sense."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from readvault.domain.metadata import faults_of
from readvault.domain.organism import MetadataField
from readvault.domain.organism.metadata_field import check_fields, latest_today
from tests.houses import organism


def field(**keys: Any) -> MetadataField:
    return MetadataField.model_validate({"name": "value", **keys})


@pytest.mark.parametrize(
    ("keys", "value", "fault"),
    [
        ({"type": "date", "range": ["2019-12-01", "today"]}, "2019-12-01", None),
        ({"type": "date", "range": ["2019-12-01", "today"]}, "2019-11-30", "'2019-11-30' is below 2019-12-01"),
        ({"type": "date"}, "2020-02-30", "is no date"),
        ({"type": "date"}, "2020-02", "expected YYYY-MM-DD"),
        ({"type": "int", "range": [0, 45]}, "45", None),
        ({"type": "int", "range": [0, 45]}, "46", "is above 45; allowed is 0 to 45"),
        ({"type": "int", "range": [1, None]}, "0", "allowed is 1 and more"),
        ({"type": "float", "range": [None, 1.5]}, "1.6", "allowed is 1.5 and less"),
        ({"type": "number"}, "1e400", "is no number"),
        ({"type": "float"}, "1_0", "is no number"),
        ({"type": "int"}, "٣", "is no whole number"),
        ({"type": "boolean"}, "TRUE", None),
        ({"type": "boolean"}, "yes", "neither true nor false"),
        ({"pattern": "[A-Z]{2}-[0-9]+"}, "CH-12", None),
        ({"pattern": "[A-Z]{2}-[0-9]+"}, "ch-12", "does not match the pattern"),
        ({"options": ["a", "b"]}, "c", "is not one of a, b"),
        ({"type": "authors"}, "Roche, Chloé; O'Neill, T. J.; Xu,;", None),
        ({"type": "authors"}, "Chloé Roche", "are no authors"),
        ({"type": "authors"}, "Roche, C;; Xu, L", "are no authors"),
        ({"type": "authors"}, "1, 2", "are no authors"),
        ({"type": "int", "guidance": "Years, rounded down."}, "x", "is no whole number. Years, rounded down."),
        ({"type": "int"}, "x" * 1000, "…' is no whole number"),
    ],
)
def test_a_value_is_taken_or_its_fault_is_told(keys: dict[str, Any], value: str, fault: str | None) -> None:
    told = field(**keys).fault_of(value)
    assert told is None if fault is None else fault in str(told)


def test_today_is_allowed_wherever_on_earth_and_tomorrow_is_not() -> None:
    dates = field(type="date", range=[None, "today"])
    assert dates.fault_of(latest_today().isoformat()) is None
    assert "is above" in str(dates.fault_of((latest_today() + timedelta(days=1)).isoformat()))


@pytest.mark.parametrize(
    "keys",
    [
        {"name": "id"},
        {"name": "accession"},
        {"name": "files.rawReads"},
        {"name": " x"},
        {"name": "a\tb"},
        {"pattern": "(a"},
        {"range": [1, 2]},
        {"type": "int", "range": [2, 1]},
        {"type": "int", "range": ["2020-01-01", None]},
        {"type": "date", "range": [1, None]},
        {"type": "int", "example": "x"},
        {"type": "int", "options": ["1", "two"]},
        {"pattern": "[a-z]+", "example": "ABC"},
        {"requierd": True},
    ],
)
def test_a_field_that_makes_no_sense_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        field(**keys)


@pytest.mark.parametrize(
    "fields",
    [
        [field(), field()],
        [field(requiredWhen=["files.other"])],
        [field(requiredWhen=["nothing"])],
        [field(), field(name="other", requiredWhen=["valeu=1"])],
        [field(options=["a"]), field(name="other", requiredWhen=["value=b"])],
    ],
)
def test_fields_that_do_not_fit_each_other_are_refused(fields: list[MetadataField]) -> None:
    with pytest.raises(ValueError, match="metadata"):
        check_fields(fields, ["rawReads"])


def test_a_field_is_required_when_a_condition_holds() -> None:
    fields = [
        field(name="host"),
        field(name="age", requiredWhen=["host=Homo sapiens"]),
        field(name="kit", requiredWhen=["files.rawReads"]),
        field(name="lab", requiredWhen=["age"]),
    ]
    check_fields(fields, ["rawReads"])
    assert list(faults_of(fields, {"host": "Mus musculus"}, [])) == []
    assert list(faults_of(fields, {"host": "Homo sapiens"}, ["rawReads"])) == [
        ("age", "a value is required because 'host=Homo sapiens' is given"),
        ("kit", "a value is required because 'files.rawReads' is given"),
    ]
    assert [name for name, _ in faults_of(fields, {"age": "3"}, [])] == ["lab"]


def test_a_field_that_comes_from_outside_has_a_possible_name_too(tmp_path: Path) -> None:
    outside = [{"externalMetadataUpdater": "ena", "name": "accession"}]
    with pytest.raises(ValidationError, match="a column with a meaning of its own"):
        organism(tmp_path, external_metadata=outside)
