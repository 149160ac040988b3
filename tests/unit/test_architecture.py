"""The house stands as it was designed: rooms, sizes, one order of steps."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
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


def test_a_module_holds_one_thing() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > 300} == {}


def test_what_is_public_says_what_it_does() -> None:
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in MODULES
        for node in _tree(path).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_files_are_given_in_one_place_only() -> None:
    """Only there it is asked whether they are shredded, damaged or stand under another version by now."""
    probes = ROOT / "readvault" / "adapters"
    store = ROOT / "readvault" / "services" / "pulls" / "referenced_store.py"
    givers = [
        path.relative_to(ROOT).as_posix()
        for path in MODULES
        if not path.is_relative_to(probes)
        and path != store
        and "sign_get" in path.read_text(encoding="utf-8")
        and "sign_get" in _attributes(path)
    ]
    assert givers == ["readvault/services/entries/giving.py"]


def _attributes(path: Path) -> set[str]:
    return {node.attr for node in ast.walk(_tree(path)) if isinstance(node, ast.Attribute)}
