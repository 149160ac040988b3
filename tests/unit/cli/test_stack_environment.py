"""What the processes of `readvault up` are told of its environment: each what it needs, nobody a maintainer's keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from readvault.cli.stack import Stack, Wishes

CANARY = "canary-in-the-environment"


def test_no_process_is_given_keys_that_are_not_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("READVAULT_MAINTAINER_S3_SECRET_KEY", "READVAULT_S3__WORKER__SECRET_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("READVAULT_DATABASE_URL", "postgresql://readvault:geheim@db.example.org/readvault")
    stack = Stack(Wishes(data_dir=tmp_path, organisms_dir=tmp_path), "stack-of-a-test")
    told = {child.name: dict(child.env) for child in stack.children()}
    assert set(told) == {"s3", "prefect", "worker", "api"}
    assert [name for name, environment in told.items() if CANARY in environment.values()] == []
    with_database = {name for name, environment in told.items() if "READVAULT_DATABASE_URL" in environment}
    assert with_database == {"worker", "api"}
    maintainers = stack.s3.credentials("maintainer").secret_key.get_secret_value()
    assert [name for name, environment in told.items() if maintainers in environment.values()] == []
