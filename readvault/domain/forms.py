"""What forms in Prefect's UI need of a model."""

from __future__ import annotations

from typing import Any


def in_order(schema: dict[str, Any]) -> None:
    """Show a form's fields in the order of the model: Prefect would sort them by name (`json_schema_extra`)."""
    for number, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = number
