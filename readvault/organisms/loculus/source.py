"""The parts of a Loculus configuration, whatever file they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from readvault.domain.errors import NotReady
from readvault.organisms.loculus.notes import Notes, Outcome
from readvault.yaml_files import quoted, read

_SETTINGS = {
    "accessionPrefix": "READVAULT_ACCESSION_PREFIX",
    "dataUseTerms": "READVAULT_DATA_USE_TERMS and READVAULT_DATA_USE_TERMS_URLS__…",
    "dataUseTermsUrls": "READVAULT_DATA_USE_TERMS_URLS__…",
    "s3": "READVAULT_S3__…",
    "fileSharing": "READVAULT_RELEASED_FILE_URLS",
    "auth": "READVAULT_IDENTITY__…",
    "backendUrl": "READVAULT_PUBLIC_URL",
    "lapisUrls": "READVAULT_LAPIS_URL",
}
_ANCHORS = ("defaultOrganismConfig", "defaultOrganisms", "organisms")


def organisms_in(path: Path, notes: Notes) -> dict[str, Mapping[str, Any]]:
    """The organisms of a Helm `values.yaml`, or of a backend or website configuration, that are not switched off.

    Raises NotReady for a file that is none of these.
    """
    content = _content(path, notes)
    key = "organisms" if content.get("organisms") else "defaultOrganisms"
    listed = content.get(key)
    if not isinstance(listed, Mapping) or not listed:
        raise NotReady(f"{path} has no organisms (neither `organisms` nor `defaultOrganisms`)")
    for name in content:
        if name in _SETTINGS:
            notes.add("", Outcome.TO_DO, name, f"is a setting: {_SETTINGS[name]} (docs/settings.md)")
        elif name not in _ANCHORS:
            notes.add("", Outcome.DROPPED, name, "is not about organisms")
    if key == "organisms" and content.get("defaultOrganisms"):
        notes.add("", Outcome.DROPPED, "defaultOrganisms", "`organisms` stands in its place")
    found: dict[str, Mapping[str, Any]] = {}
    for name, organism in listed.items():
        if not isinstance(organism, Mapping) or not isinstance(organism.get("schema"), Mapping):
            notes.add(str(name), Outcome.DROPPED, "schema", "the organism has none")
        elif organism.get("enabled") is False:
            notes.add(str(name), Outcome.DROPPED, "enabled", "the organism is switched off")
        else:
            found[str(name)] = organism
    return found


def _content(path: Path, notes: Notes) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            content = json.loads(text)
        else:
            document = read(text)
            content = document.content
            for place, line in document.repeated:
                name = ".".join(map(str, place))
                notes.add("", Outcome.APPROXIMATED, name, f"stands twice (line {line}): the last one counts")
    except OSError as fault:
        raise NotReady(f"{path}: {fault.strerror}") from fault
    except (UnicodeDecodeError, ValueError, RecursionError, yaml.YAMLError) as fault:
        raise NotReady(f"{path} is no YAML or JSON: {quoted(str(fault))}") from fault
    if not isinstance(content, dict):
        raise NotReady(f"{path} is no mapping of keys to values")
    return content
