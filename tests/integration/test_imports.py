"""What each process of an installation must not wait for: a worker starts in a second or two, not in five."""

from __future__ import annotations

import subprocess
import sys

import pytest

NATIVE = {"numba", "pysam", "deacon", "dnaio", "Bio"}
NOT_FOR_ALL = NATIVE | {"prefect", "alembic", "jinja2"}


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("readvault.bootstrap", NOT_FOR_ALL | {"fastapi"}),
        ("readvault.api.app", NOT_FOR_ALL),
        ("readvault.adapters.prefect_worker_process", NATIVE),
        ("readvault.cli.main", NOT_FOR_ALL | {"pydantic", "sqlalchemy", "boto3", "fastapi"}),
    ],
)
def test_a_process_loads_only_what_its_work_needs(module: str, unwanted: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({unwanted!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert loaded.split() == []
