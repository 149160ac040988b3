"""What all page templates keep to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEMPLATES = sorted(Path("readvault/web/templates").rglob("*.html"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_texts_are_cut_where_they_are_too_long(template: Path) -> None:
    """Else Jinja cuts before the last space: of a short word and a long one only the short one would be shown."""
    cut = re.findall(r"truncate\(([^)]*)\)", template.read_text(encoding="utf-8"))
    assert [said for said in cut if not said.endswith(", true")] == []
