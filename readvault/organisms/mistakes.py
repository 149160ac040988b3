"""Every mistake of one organism file, not only the first."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from readvault.config import meaning
from readvault.domain.organism import Organism
from readvault.organisms.findings import Finding, Level
from readvault.yaml_files import Document, Place, quoted, read

ROUNDS = 20
"""How often what is wrong is left out and the rest looked at again: rules about the whole need sound parts."""


def organism_in(path: Path) -> tuple[Organism | None, Document, list[Finding]]:
    """The organism of a file, or None with its mistakes; paths in it are still as they were written."""
    nothing = Document(None, {})
    try:
        document = read(path.read_text(encoding="utf-8"))
    except OSError as fault:
        return None, nothing, [Finding(Level.ERROR, path, 1, "", f"can't be read: {fault.strerror}")]
    except UnicodeDecodeError:
        return None, nothing, [Finding(Level.ERROR, path, 1, "", "is no UTF-8 text", "Save it as UTF-8.")]
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        problem = quoted(getattr(fault, "problem", None) or str(fault))
        return None, nothing, [Finding(Level.ERROR, path, line, "", f"is no YAML: {problem}", "Look at this line.")]
    found = [
        Finding(Level.ERROR, path, line, dotted(place), "the key stands twice", "Keep one of them.")
        for place, line in document.repeated
    ]
    for place, message, advice in _mistakes(document.content):
        key = dotted(document.known(place))
        found.append(Finding(Level.ERROR, path, document.line(place), key, message, advice))
    return (None if found else Organism.model_validate(document.content)), document, found


def dotted(place: Place) -> str:
    """A place as people write it: `pipeline.qc[0].metric`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def _mistakes(content: Any) -> Iterator[tuple[Place, str, str]]:
    """What is wrong, where, and what to do. What was found is left out and the rest is looked at again."""
    told: set[tuple[Place, str]] = set()
    without: set[Place] = set()
    for number in range(ROUNDS):
        left = _pruned(content, without)
        errors = _faults(_sound(left) if number else left)
        before = frozenset(without)
        for error in errors:
            place, message = _place_in(content, before, error["loc"]), meaning(error).removeprefix("Value error, ")
            if not place and number and (culprit := _culprit(content, before, message)):
                place = culprit
            is_ours = error["type"] == "missing" and any(place[: len(gone)] == gone for gone in without)
            if (place, message) not in told and not is_ours:
                told.add((place, message))
                yield place, message, _advice(error, message, place)
            at = place[:-1] if error["type"] == "missing" else place
            while at and not _is_in(content, at):
                at = at[:-1]
            if at:
                without.add(at)
        if number and without == before:
            return


def _faults(content: Any) -> list[ErrorDetails]:
    try:
        Organism.model_validate(content)
    except ValidationError as fault:
        return _of_the_meant_kind(fault)
    return []


def _sound(content: Any) -> Any:
    """The content with a name and a reference genome: rules about the whole are not looked at without them."""
    if not isinstance(content, Mapping):
        return content
    sound = {"name": "name", **content}
    if (sound.get("reference") is None) == (not sound.get("references")):
        sound |= {"reference": {"fasta": "reference.fasta"}, "references": []}
    return sound


def _culprit(content: Any, without: Set[Place], message: str) -> Place:
    """The field of the metadata without which the whole would be right, the last one first; nothing for none."""
    for key in ("metadata", "externalMetadata"):
        listed = content.get(key) if isinstance(content, Mapping) else None
        for index in reversed(range(len(listed) if isinstance(listed, list) else 0)):
            left = _sound(_pruned(content, {*without, (key, index)}))
            if (key, index) not in without and not any(message in error["msg"] for error in _faults(left)):
                return key, index
    return ()


def _of_the_meant_kind(fault: ValidationError) -> list[ErrorDetails]:
    """The faults without those of the kinds that a value could have been, but obviously isn't meant to be."""
    errors = fault.errors(include_url=False)
    deep = [_plain(error) for error in errors if error["type"] != "literal_error"]

    def another_kind_is_meant(error: ErrorDetails) -> bool:
        plain = _plain(error)
        of_several = error["type"] == "literal_error" and plain != error["loc"]
        return of_several and not isinstance(error["input"], str) and any(o[: len(plain)] == plain for o in deep)

    return [error for error in errors if not another_kind_is_meant(error)]


def _plain(error: ErrorDetails) -> Place:
    return tuple(part for part in error["loc"] if not _is_kind(part))


def _is_kind(part: Any) -> bool:
    """Whether a part of a place is the validator's name of one of several kinds, not a key."""
    return isinstance(part, str) and ("[" in part or part in ("int", "float", "date", "str", "function-before"))


def _place_in(content: Any, without: Set[Place], loc: tuple[Any, ...]) -> Place:
    """The place in the whole content of a place in what was left of it."""
    place: Place = ()
    value = content
    for number, part in enumerate(loc):
        if isinstance(part, int) and isinstance(value, list):
            left = [index for index in range(len(value)) if (*place, index) not in without]
            part = left[part] if part < len(left) else part
        elif not (isinstance(value, Mapping) and part in value) and (_is_kind(part) or number < len(loc) - 1):
            continue
        place = (*place, part)
        value = value[part] if _holds(value, part) else None
    return place


def _holds(value: Any, part: str | int) -> bool:
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and part < len(value)


def _is_in(content: Any, place: Place) -> bool:
    for part in place:
        if not _holds(content, part):
            return False
        content = content[part]
    return True


def _pruned(value: Any, without: Set[Place], place: Place = ()) -> Any:
    if isinstance(value, Mapping):
        return {k: _pruned(v, without, (*place, k)) for k, v in value.items() if (*place, k) not in without}
    if isinstance(value, list):
        return [_pruned(v, without, (*place, n)) for n, v in enumerate(value) if (*place, n) not in without]
    return value


_WRITTEN_AS = {
    "warn": "Write a limit as `< 0.9` or `> 5 %`.",
    "error": "Write a limit as `< 0.9` or `> 5 %`.",
    "maxBytesPerFile": "Write a size as 20 GB.",
    "sha256": "It is the 64 hexadecimal digits that `readvault host-index fetch` prints.",
    "range": "Write [least, most]; either may be null.",
}


def _advice(error: ErrorDetails, message: str, place: Place) -> str:
    if message == "unknown key":
        near = difflib.get_close_matches(str(place[-1]), known_keys(), n=1, cutoff=0.7)
        return f"Did you mean {near[0]}?" if near else "docs/organisms.md lists all keys."
    if message == "is missing":
        return f"Add {place[-1]}."
    if error["type"] in ("literal_error", "enum") and isinstance(error["input"], str):
        near = difflib.get_close_matches(error["input"], re.findall(r"'([^']+)'", message), n=1)
        return f"Did you mean {near[0]}?" if near else ""
    return next((_WRITTEN_AS[str(part)] for part in reversed(place) if part in _WRITTEN_AS), "")


@functools.cache
def known_keys() -> tuple[str, ...]:
    """The keys of organism files."""

    def of(model: type[BaseModel]) -> Iterator[str]:
        for name, field in model.model_fields.items():
            yield field.alias or name
            for part in _models(field.annotation):
                yield from of(part)

    return tuple(dict.fromkeys(of(Organism)))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models(inner)
