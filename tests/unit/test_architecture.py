"""The house stands as it was designed: rooms, sizes, one order of steps."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("readvault", "flows", "tasks")
MODULES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py") if "migrations" not in p.parts)


@pytest.mark.slow
def test_rooms_open_in_one_direction() -> None:
    result = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


def test_tasks_import_the_pipeline_and_the_composition_root_only() -> None:
    allowed = ("readvault.pipeline", "readvault.bootstrap", "readvault.domain")
    for path in (ROOT / "tasks").glob("*.py"):
        for name in _imports(path):
            assert not name.startswith("readvault") or name.startswith(allowed), f"{path.name} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_holds_one_thing(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_public_says_what_it_does(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.name}:{node.lineno} {node.name} has no docstring"


def _imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_files_are_given_in_one_place_only() -> None:
    """Only there it is asked whether they are shredded, damaged or stand under another version by now."""
    probes = ROOT / "readvault" / "adapters"
    givers = [
        path.relative_to(ROOT).as_posix()
        for path in MODULES
        if not path.is_relative_to(probes) and "sign_get" in _attributes(path)
    ]
    assert givers == ["readvault/services/entries/giving.py"]


def _attributes(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
