"""The page that puts Loculus's tests beside ours names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_every_test_of_ours_on_the_page_exists() -> None:
    page = (REPOSITORY / "docs" / "loculus-compatibility.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:integration|journey|unit)/[\w/]+\.py)`", page))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (REPOSITORY / "tests" / name).is_file()] == []
