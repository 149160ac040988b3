"""Metadata fields of Loculus as fields of an organism file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from readvault.domain.organism import MetadataField
from readvault.domain.processed_data import MEASURED
from readvault.organisms.loculus.genomes import mappings
from readvault.organisms.loculus.notes import Notes, Outcome

_SHOWN_ONLY = frozenset(
    {
        *("header", "order", "orderOnDetailsPage", "notSearchable", "generateIndex", "columnWidth", "autocomplete"),
        *("enableSubstringSearch", "rangeSearch", "rangeOverlapSearch", "initiallyVisible", "customDisplay"),
        *("hideOnSequenceDetailsPage", "hideInSearchResultsTable", "includeInDownloadsByDefault", "oneHeader"),
        *("truncateColumnDisplayTo", "ontology_id", "lineageSystem", "substringSearch", "isSequenceFilter"),
        *("hierarchicalFilter", "multiSelect", "onlyForReference", "referenceIdentifier", "relatesToSegment"),
    }
)
"""Keys for the website and the search, which readvault leaves to them."""
_KNOWN = frozenset(
    {
        *("name", "displayName", "type", "required", "noInput", "options", "definition", "guidance", "example"),
        *("preprocessing", "perSegment", "desired", "ingest"),
    }
)
_TYPES = {"timestamp": "string", "pango_lineage": "string"}
_PARTIAL_DATE = "[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?"
_AS_IT_IS = frozenset({"identity", "process_options", "check_authors"})
_MEANING = frozenset({"platform", "libraryLayout", "libraryStrategy", "primerScheme", "sampleType", "sampleRole"})


class Fields:
    """The fields of one organism: those that submitters fill in, and those that its pipeline made."""

    def __init__(self, organism: str, segments: Sequence[str], notes: Notes) -> None:
        self._note: Callable[..., None] = functools.partial(notes.add, organism)
        self._segments = segments
        self.submitted: dict[str, dict[str, Any]] = {}
        self.made: dict[str, dict[str, Any]] = {}

    def take(self, schema: Mapping[str, Any]) -> None:
        """Take all fields of an organism's schema."""
        inputs = _named(schema.get("inputFields"))
        for raw in (*mappings(schema.get("metadata")), *mappings(schema.get("metadataAdd"))):
            name = str(raw.get("name", ""))
            by_pipeline = bool(raw.get("noInput")) or (bool(inputs) and name not in inputs)
            for each in self._names(name, bool(raw.get("perSegment"))):
                into = self.made if by_pipeline else self.submitted
                if each in into:
                    self._note(Outcome.APPROXIMATED, "metadata", "a field stands twice: the last one counts", each)
                field = self._field(each, raw, by_pipeline=by_pipeline)
                if field is not None:
                    into[each] = field
        for raw in mappings(schema.get("extraInputFields")):
            name = str(raw.get("name", ""))
            field = self._field(name, {k: v for k, v in raw.items() if k != "position"}, by_pipeline=False)
            if field is not None:
                self.submitted.setdefault(name, field)

    def _names(self, name: str, per_segment: bool) -> list[str]:
        if not per_segment or len(self._segments) < 2:
            return [name]
        self._note(Outcome.MAPPED, "metadata.perSegment", "one field for each segment", name)
        return [f"{name}_{segment}" for segment in self._segments]

    def _field(self, name: str, raw: Mapping[str, Any], *, by_pipeline: bool) -> dict[str, Any] | None:
        kind = str(raw.get("type", "string"))
        field: dict[str, Any] = {"name": name, "type": _TYPES.get(kind, kind)}
        if kind in _TYPES:
            self._note(Outcome.APPROXIMATED, "metadata.type", f"{kind} becomes {_TYPES[kind]}", name)
        if raw.get("displayName"):
            field["displayName"] = str(raw["displayName"])
        for key in raw:
            if key in _SHOWN_ONLY:
                self._note(Outcome.DROPPED, f"metadata.{key}", "is for the website and the search", name)
            elif key == "ingest":
                self._note(Outcome.DROPPED, "metadata.ingest", "readvault ingests nothing from elsewhere", name)
            elif key == "desired":
                self._note(Outcome.DROPPED, "metadata.desired", "a field is required or it isn't", name)
            elif key not in _KNOWN:
                self._note(Outcome.DROPPED, f"metadata.{key}", "is unknown here", name)
        if not by_pipeline:
            self._add_input_rules(field, raw)
        return self._sound(field)

    def _add_input_rules(self, field: dict[str, Any], raw: Mapping[str, Any]) -> None:
        name = field["name"]
        if raw.get("required"):
            field["required"] = True
        if options := _options(raw.get("options")):
            field["options"] = options
        told = [str(raw[key]).strip() for key in ("definition", "guidance") if raw.get(key)]
        if told:
            field["guidance"] = " ".join(told)
        if raw.get("example") is not None:
            field["example"] = str(raw["example"])
        self._add_preprocessing(field, raw.get("preprocessing"))
        if name in {each.name for each in MEASURED} - _MEANING:
            text = "what readvault measures under this name stands in place of what submitters say"
            self._note(Outcome.APPROXIMATED, "metadata.name", text, name)
        elif name in _MEANING:
            text = "has a meaning here: docs/organisms.md, 'Fields of the metadata with a meaning'"
            self._note(Outcome.TO_DO, "metadata.name", text, name)

    def _add_preprocessing(self, field: dict[str, Any], raw: Any) -> None:
        if not isinstance(raw, Mapping):
            return
        name, function = field["name"], str(raw.get("function", "identity"))
        inputs = raw.get("inputs")
        args = raw["args"] if isinstance(raw.get("args"), Mapping) else {}
        others = sorted(set(map(str, inputs.values())) - {name}) if isinstance(inputs, Mapping) else []
        key = "metadata.preprocessing"
        if function == "parse_and_assert_past_date":
            field |= {"type": "date", "range": [None, "today"]}
            self._note(Outcome.APPROXIMATED, key, f"{function}: a whole date that is not in the future", name)
        elif function == "parse_date_into_range" and field["type"] == "string":
            field["pattern"] = _PARTIAL_DATE
            self._note(Outcome.APPROXIMATED, key, f"{function}: a year, a month or a day; no range is made of it", name)
        elif function == "check_regex" and "pattern" in args:
            field["pattern"] = str(args["pattern"])
            self._note(Outcome.APPROXIMATED, key, f"{function}: the whole value must match the pattern", name)
        elif function not in _AS_IT_IS:
            text = f"{function} is not done: what the submitter says stands as it is"
            self._note(Outcome.APPROXIMATED, key, text, name)
        if others:
            text = "is read from the column of its own name, no longer from other inputs"
            self._note(Outcome.APPROXIMATED, f"{key}.inputs", text, f"{name} from {', '.join(others)}")

    def _sound(self, field: dict[str, Any]) -> dict[str, Any] | None:
        """The field as readvault can take it: without the keys that don't fit, or None when it can't be one."""
        for key in ("", "example", "options", "pattern", "range"):
            left = {name: value for name, value in field.items() if name != key}
            try:
                MetadataField.model_validate(left)
            except ValidationError as fault:
                why = fault.errors()[0]["msg"].removeprefix("Value error, ")
                continue
            if key:
                self._note(Outcome.DROPPED, f"metadata.{key}", f"doesn't fit: {why}", field["name"])
            return left
        self._note(Outcome.DROPPED, "metadata", f"can't be a field here: {why}", field["name"] or "(without name)")
        return None


def _options(raw: Any) -> list[str]:
    listed = raw if isinstance(raw, list) else []
    names = [each.get("name") if isinstance(each, Mapping) else each for each in listed]
    return list(dict.fromkeys(str(name) for name in names if name is not None))


def _named(raw: Any) -> frozenset[str]:
    return frozenset(str(each.get("name")) for each in mappings(raw))
