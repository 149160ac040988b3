"""`readvault export-silo`: counts for people and programs, files in a folder, one clear line for what can't be."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from readvault.cli import admin_screening
from readvault.cli.main import app
from readvault.domain.errors import BadRequest
from readvault.domain.exports import FILES
from readvault.services.house import House
from tests.integration.services.scenes import ORGANISM, group
from tests.integration.services.silo_scenes import released_reads


def test_the_command_exports_and_writes_the_files(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_screening, "office_with_organisms", lambda: house)
    released_reads(house, group(house, "alice"))
    out = tmp_path / "set"
    options = ["export-silo", "--organism", ORGANISM, "--out", str(out)]
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 0, done.output
    assert "new\t1" in done.output.splitlines()
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    again = CliRunner().invoke(app, options)
    assert "nothing has changed" in again.output
    assert list(house.settings.scratch.glob("*/export-*")) == []
    wrong = CliRunner().invoke(app, ["export-silo", "--organism", "unknown"])
    assert isinstance(wrong.exception, BadRequest)
