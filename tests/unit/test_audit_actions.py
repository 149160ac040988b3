"""Whatever people do through a use case leaves a row in the audit log, and every kind of row is documented."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "readvault" / "services"
MODULES = sorted(SERVICES.rglob("*.py"))
# Use cases that open a write transaction for an actor and leave no row, each for a reason.
UPLOADS = "uploads are rows of their own, with uploader and time"
SILENT = {
    "uploads/upload_requests.py request_uploads": UPLOADS,
    "uploads/multipart.py sign_parts": UPLOADS,
    "uploads/file_states.py sign_again": UPLOADS,
    "uploads/file_states.py abort": UPLOADS,
    "submission/writing.py answered": "it only gives an earlier answer again",
}
COMPUTED = {
    *("register", "refuse to change a released result", "suppress", "withdraw", "restore", "read files"),
    *("give reads again", "request opening", "confirm opening", "close originals"),
}
"""Actions whose names are not written where the row is."""


@cache
def _tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def _functions(module: Path) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in _tree(module).body if isinstance(node, ast.FunctionDef)}


@cache
def _called(node: ast.AST) -> tuple[str, ...]:
    return tuple(_dotted(each.func) for each in ast.walk(node) if isinstance(each, ast.Call))


def _dotted(node: ast.expr) -> str:
    """The names of a call with their dots, such as `house.sessions.begin`: of anything else than names nothing."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _writes_down(name: str, functions: dict[str, ast.FunctionDef], seen: frozenset[str] = frozenset()) -> bool:
    for called in _called(functions[name]):
        if called in ("audit.append", "access_log.note", "access_log.note_all"):
            return True
        if called in functions and called not in seen and _writes_down(called, functions, seen | {name}):
            return True
    return False


def _use_cases() -> Iterator[tuple[str, str, bool]]:
    """Public functions that take an actor and open a write transaction."""
    for module in MODULES:
        functions = _functions(module)
        for name, node in functions.items():
            takes_actor = any(argument.arg == "actor" for argument in (*node.args.args, *node.args.kwonlyargs))
            writes = any(called.endswith("sessions.begin") for called in _called(node))
            if takes_actor and writes and not name.startswith("_"):
                yield module.relative_to(SERVICES).as_posix(), name, _writes_down(name, functions)


def test_what_an_actor_changes_is_written_down() -> None:
    silent = {f"{module} {name}" for module, name, writes_down in _use_cases() if not writes_down}
    assert silent == set(SILENT)


def test_there_are_use_cases_to_look_at() -> None:
    assert len(list(_use_cases())) > 20


def _actions() -> set[str]:
    found = set(COMPUTED)
    for module in MODULES:
        for node in ast.walk(_tree(module)):
            if isinstance(node, ast.Call) and len(node.args) > 2 and _dotted(node.func) == "audit.append":
                action = node.args[2]
                if isinstance(action, ast.Constant):
                    found.add(str(action.value))
    return found


def test_every_action_is_documented() -> None:
    text = (ROOT / "docs" / "maintainers.md").read_text(encoding="utf-8")
    listed = next(line for line in text.splitlines() if line.startswith("Actions in the log:"))
    assert [action for action in sorted(_actions()) if f"`{action}`" not in listed] == []
