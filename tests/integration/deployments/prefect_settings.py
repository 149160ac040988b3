"""The environment variables that the installed Prefect reads."""

from __future__ import annotations

from prefect.settings.models.root import Settings
from pydantic import BaseModel


def server_settings(model: type[BaseModel] = Settings) -> set[str]:
    """The names of all of them, by Prefect's own models."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and "Settings" in kind.__name__:
            names |= server_settings(kind)
        else:
            names.add(f"{model.model_config.get('env_prefix', '')}{name}".upper())
    return names
