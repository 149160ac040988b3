"""What a user can set or read is documented."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from readvault.config import Settings
from readvault.domain.annotations import Reason
from readvault.domain.organism import Organism
from readvault.domain.reads import ProcessedCategory
from readvault.domain.status import JobState, ProcessingResult, Status
from readvault.pipeline import STEPS

DOCS = Path(__file__).parents[2] / "docs"
README = DOCS.parent / "README.md"


def _settings(model: type[BaseModel], prefix: str = "READVAULT_") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__name__ != "S3Credentials":
            names += _settings(kind, f"{prefix}{name.upper()}__")
        else:
            names.append(prefix + name.upper())
    return names


def _organism_keys(schema: dict, definitions: dict, seen: set[str]) -> set[str]:
    keys: set[str] = set()
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in seen:
            return keys
        return _organism_keys(definitions[name], definitions, seen | {name})
    for key, value in schema.get("properties", {}).items():
        keys.add(key)
        keys |= _organism_keys(value, definitions, seen)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            keys |= _organism_keys(schema[key], definitions, seen)
    for key in ("anyOf", "allOf", "prefixItems"):
        for value in schema.get(key, []):
            keys |= _organism_keys(value, definitions, seen)
    return keys


@pytest.mark.parametrize("name", _settings(Settings))
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{name}`" in (DOCS / "settings.md").read_text(encoding="utf-8")


def test_every_organism_key_is_documented() -> None:
    schema = Organism.model_json_schema(by_alias=True)
    text = (DOCS / "organisms.md").read_text(encoding="utf-8")
    keys = _organism_keys(schema, schema["$defs"], set())
    assert len(keys) > 30
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_documented(reason: Reason) -> None:
    assert f"`{reason}`" in (DOCS / "submitters.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("status", [*Status, *ProcessingResult, *JobState])
def test_every_status_is_documented(status: str) -> None:
    assert f"`{status}`" in (DOCS / "maintainers.md").read_text(encoding="utf-8") + README.read_text(encoding="utf-8")


@pytest.mark.parametrize("category", list(ProcessedCategory))
def test_every_processed_category_is_documented(category: ProcessedCategory) -> None:
    assert f"`{category}`" in (DOCS / "submitters.md").read_text(encoding="utf-8")


def test_every_deployment_is_documented() -> None:
    text = (DOCS / "maintainers.md").read_text(encoding="utf-8")
    for each in yaml.safe_load((DOCS.parent / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]:
        name = each["entrypoint"].rpartition(".")[2].replace("_", "-")
        assert f"| `{name}/{each['name']}` |" in text


def test_readme_tells_every_step_in_order() -> None:
    text = README.read_text(encoding="utf-8")
    places = [text.index(f"**{step}**") for step in STEPS]
    assert places == sorted(places)
