"""Real servers for the tests, each started once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from readvault.adapters.embedded import SeaweedFS
from readvault.adapters.s3 import S3Store
from readvault.config import S3Settings


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A SeaweedFS for all tests of this run; each test makes a bucket of its own in it."""
    with SeaweedFS(tmp_path_factory.mktemp("seaweed"), buckets="test-*", bucket="test-first") as server:
        yield server


@pytest.fixture
def s3_settings(seaweed: SeaweedFS) -> S3Settings:
    """A fresh bucket with versions and locks."""
    return seaweed.provision(f"test-{uuid.uuid4().hex[:16]}")


@pytest.fixture
def store(s3_settings: S3Settings) -> S3Store:
    """The store of a fresh bucket."""
    return S3Store(s3_settings)
