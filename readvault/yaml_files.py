"""YAML as maintainers write it: read without surprises, and with the line of every key."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Place = tuple[str | int, ...]
"""Where a value stands: keys and positions from the top."""
_MERGE = "tag:yaml.org,2002:merge"
MOST_VALUES = 1_000_000
"""Of one text, counted as often as aliases repeat them: a few lines can stand for more than a memory holds."""


class Loader(yaml.SafeLoader):
    """YAML in which only `true` and `false` are truth values.

    In YAML 1.1 `off` and `NO` are too: the key `dehumanize.off` and the country Norway would be lost.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML declares it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _mapping_without_repeats(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    """A mapping whose keys are all different: YAML would silently take the last value of a repeated one."""
    for key in _repeated(node):
        raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
    return loader.construct_mapping(node, deep=True)


Loader.add_constructor("tag:yaml.org,2002:map", _mapping_without_repeats)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def load(text: str) -> Any:
    """The content of a YAML text. Raises yaml.YAMLError, also where a key stands twice."""
    with _only_yaml_errors():
        return _constructed(_composed(text), Loader(""))


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML text with its lines. `repeated` are the keys that stand twice, with the line of the second."""

    content: Any
    lines: Mapping[Place, int]
    repeated: tuple[tuple[Place, int], ...] = field(default=())

    def line(self, place: Place) -> int:
        """The 1-based line of the value, or of the nearest thing around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def known(self, place: Place) -> Place:
        """The place without the parts that the text has not, such as a validator's own names; the last one stays."""
        found: Place = ()
        for number, part in enumerate(place):
            if (*found, part) in self.lines or number == len(place) - 1:
                found = (*found, part)
        return found


def read(text: str) -> Document:
    """The content and its lines; of keys that stand twice the last counts. Raises yaml.YAMLError."""
    lines: dict[Place, int] = {}
    repeated: list[tuple[Place, int]] = []
    with _only_yaml_errors():
        node = _composed(text)
        if node is not None:
            _collect(node, (), lines, repeated)
        return Document(_constructed(node, _Lenient("")), lines, tuple(repeated))


@contextlib.contextmanager
def _only_yaml_errors() -> Iterator[None]:
    """A number or date that is none, or too many brackets, is a mistake of the text like any other."""
    try:
        yield
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, OverflowError) as fault:
        raise yaml.YAMLError(str(fault)) from None


def _composed(text: str) -> yaml.Node | None:
    node = yaml.compose(text, Loader)
    if node is not None and _values(node, {}) > MOST_VALUES:
        raise yaml.YAMLError(f"it stands for more than {MOST_VALUES} values")
    return node


def _constructed(node: yaml.Node | None, loader: Loader) -> Any:
    try:
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for; each node is looked at once, however many aliases name it."""
    if (found := known.get(id(node))) is not None:
        if not found:
            raise yaml.composer.ComposerError(None, None, "an alias stands for what it is part of", node.start_mark)
        return found
    known[id(node)] = 0
    inside: list[Any] = node.value if isinstance(node, yaml.CollectionNode) else []
    parts = [part for each in inside for part in (each if isinstance(each, tuple) else (each,))]
    known[id(node)] = 1 + sum(_values(part, known) for part in parts)
    return known[id(node)]


def quoted(text: str) -> str:
    """The text without line ends, as messages quote it."""
    return " ".join(text.split())


class _Lenient(Loader):
    """Takes the last of repeated keys: whoever reads with it tells of them."""


def _last_of_repeats(loader: _Lenient, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_Lenient.add_constructor("tag:yaml.org,2002:map", _last_of_repeats)


def _collect(node: yaml.Node, place: Place, lines: dict[Place, int], repeated: list[tuple[Place, int]]) -> None:
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _collect(item, (*place, number), lines, repeated)
    if isinstance(node, yaml.MappingNode):
        repeated += [((*place, key.value), key.start_mark.line + 1) for key in _repeated(node)]
        for key, value in sorted(node.value, key=lambda pair: pair[0].tag == _MERGE):  # own keys before merged ones
            if key.tag == _MERGE:
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    _collect(merged, place, lines, repeated)
            elif isinstance(key, yaml.ScalarNode) and (*place, key.value) not in lines:
                lines[*place, key.value] = key.start_mark.line + 1
                _collect(value, (*place, key.value), lines, repeated)


def _repeated(node: yaml.MappingNode) -> Iterator[yaml.ScalarNode]:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
            if key.value in seen:
                yield key
            seen.add(key.value)
