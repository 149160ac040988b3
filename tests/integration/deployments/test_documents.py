"""What the runbook tells people to type exists, and its links lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from readvault.cli.main import app
from tests.integration.deployments import ROOT

PAGES = [ROOT / "docs" / name for name in ("deploying.md", "runbook.md", "maintainers.md")]
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES}


COMMANDS = get_command(app)
LINE = r"`(?:[\w= ]*? )?(readvault (?!up\b)[a-z][^`\n]*)`|^(readvault [a-z].*)$"


def commands() -> Iterator[tuple[str, str]]:
    for name, text in TEXTS.items():
        for found in re.finditer(
            r"`(?:[\w= ]*? )?(readvault (?!up\b)[a-z][^`\n]*)`|^(readvault [a-z].*)$", text, flags=re.M
        ):
            yield name, (found[1] or found[2]).partition("#")[0].strip()


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_every_command_is_one(page: str, line: str) -> None:
    command: Any = COMMANDS
    words = shlex.split(line.replace("…", ""))[1:]
    while words and hasattr(command, "commands"):
        if words[0] == "|" or " | " in line:
            return  # a choice between commands, told in one go
        command = command.commands[words.pop(0)]
    options = {option for parameter in getattr(command, "params", []) for option in parameter.opts}
    for word in words:
        if word.startswith("-"):
            assert word.partition("=")[0] in options, f"{page}: {line}"


def headings(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", ["deploying.md", "runbook.md"])
def test_every_link_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", TEXTS[name])
    assert links
    for link in links:
        file, _, anchor = link.partition("#")
        target = (ROOT / "docs" / (file or name)).resolve()
        assert target.is_file(), link
        assert not anchor or anchor in headings(target), link


FIRST_SIDE_BY_SIDE = "0010"
MIGRATIONS = [
    path
    for path in sorted((ROOT / "readvault" / "db" / "migrations" / "versions").glob("0*.py"))
    if path.name >= FIRST_SIDE_BY_SIDE
]


@pytest.mark.parametrize("path", MIGRATIONS, ids=lambda path: path.stem)
def test_a_version_before_a_migration_goes_on_after_it(path: Path) -> None:
    """The runbook migrates first and replaces processes then: until the last is, the older ones write too."""
    upgrade = next(
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == "upgrade"
    )
    for call in (node for node in ast.walk(upgrade) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        assert name.rpartition(".")[2] not in {"drop_column", "drop_table", "alter_column", "rename_table"}, name
        if name == "op.add_column":
            column = call.args[1]
            assert isinstance(column, ast.Call)
            options = {each.arg: ast.unparse(each.value) for each in column.keywords}
            assert options.get("nullable", "True") == "True" or "server_default" in options, ast.unparse(call)
