"""`readvault admin shred`: two accounts of the machine, and keys that only one command sees."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from readvault.cli import admin_erasure
from readvault.config import S3Credentials
from readvault.domain.actor import MAINTAINER_ROLE, Actor
from readvault.domain.errors import Forbidden
from readvault.services.house import House
from tests.fakes import MemoryStore
from tests.integration.services.life import released
from tests.integration.services.scenes import group

WHY = "the patient took back consent"
Run = Callable[..., Any]


@pytest.fixture
def run(house: House, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command as an account of the machine."""
    monkeypatch.setattr(admin_erasure, "open_office", lambda: house)

    def invoke(account: str, *words: object, fails: bool = False) -> Any:
        actor = Actor(f"admin ({account})", frozenset({MAINTAINER_ROLE}))
        monkeypatch.setattr(admin_erasure, "maintainer", lambda: actor)
        result = CliRunner().invoke(admin_erasure.shred_app, [str(word) for word in words])
        assert (result.exit_code != 0) == fails, result.output
        return result

    return invoke


def test_two_accounts_and_a_maintainers_own_keys(
    run: Run, house: House, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from readvault import bootstrap

    name = released(house, group(house, "alice"), files=(b"one",))
    listed = run("ann", "request", name, "--reason", WHY).stdout
    assert listed.count("\n") == 5, "two objects, each in a line, and what to do"
    command = listed.strip().splitlines()[-1].split()[3:]
    assert isinstance(run("ann", *command, fails=True).exception, Forbidden)
    store.lock(next(store.list_versions("vault/")), until=4e9)
    assert "maintainer's own credential" in run("bea", *command, fails=True).stdout
    assert "confirmed" in run("bea", "list").stdout
    run("bea", "prove", 1, fails=True)

    seen: dict[str, S3Credentials] = {}

    def stores(_: object, keys: dict[str, S3Credentials]) -> dict[str, MemoryStore]:
        seen.update(keys)
        return dict.fromkeys(keys, store)

    monkeypatch.setattr(bootstrap, "maintainer_stores", stores)
    run("bea", "finish", 1, fails=True)
    assert seen == {}, "without keys in its environment a command has none"
    monkeypatch.setenv("READVAULT_MAINTAINER_S3_ACCESS_KEY", "own-key")
    monkeypatch.setenv("READVAULT_MAINTAINER_S3_SECRET_KEY", "own-secret")
    done = run("bea", "finish", 1)
    assert seen == {"bucket": S3Credentials(access_key="own-key", secret_key=SecretStr("own-secret"))}
    assert "a search found none left" in done.stdout
    assert "own-" not in done.output
    assert not store.versions
    proof = json.loads(run("ann", "prove", 1).stdout)
    assert proof["accessionVersions"] == [str(name)]
    assert "finished" in run("ann", "list").stdout
