"""What stands in `deployments/` fits the code: images, Compose, Kubernetes, Prefect's own templates."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from readvault.config import Settings

ROOT = Path(__file__).parents[3]
DEPLOYMENTS = ROOT / "deployments"
TO_STOP = 30
"""Seconds that docs/maintainers.md tells people to give a worker."""


def known_settings(model: type[BaseModel] = Settings, prefix: str = "READVAULT_") -> set[str]:
    """The environment variables that the code reads; of a part that may be None only its leaves are listed."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        kinds = [kind for kind in (field.annotation, *getattr(field.annotation, "__args__", ())) if kind]
        parts = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not parts:
            names.add(prefix + name.upper())
        for part in parts:
            names |= known_settings(part, f"{prefix}{name.upper()}__")
    return names
