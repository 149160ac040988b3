"""The API around a house with fakes, and headers for its users."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api.app import create_app
from readvault.domain.actor import Actor
from readvault.services.house import House

with warnings.catch_warnings():
    # Starlette wants another HTTP library for its test client; the installed one works.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

if TYPE_CHECKING:
    from tests.conftest import MigratedDatabases
    from tests.integration.api.matrix.scene import Scene

    Headers = Callable[[Actor], dict[str, str]]


@pytest.fixture(scope="session")
def issuer_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key of the built-in issuer, made once: it takes a while."""
    path = tmp_path_factory.mktemp("issuer") / "identity-key.pem"
    EmbeddedIssuer(path, url="http://testserver", token_minutes=10)
    return path


@pytest.fixture(scope="session")
def issuer(issuer_key: Path) -> EmbeddedIssuer:
    """The built-in issuer; it holds no state besides its key."""
    return EmbeddedIssuer(issuer_key, url="http://testserver", token_minutes=10)


@pytest.fixture
def app(house: House, issuer: EmbeddedIssuer) -> FastAPI:
    return create_app(house, Identity(issuer))


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    """One event loop for all tests: starting and stopping one for each takes longer than most tests."""
    with start_blocking_portal() as opened:
        yield opened


@pytest.fixture
def api(app: FastAPI, portal: BlockingPortal) -> TestClient:
    """The API, for requests that follow no redirect."""
    client = TestClient(app, follow_redirects=False, raise_server_exceptions=False)
    client.portal = portal
    return client


@pytest.fixture
def headers(issuer: EmbeddedIssuer) -> Headers:
    """The Authorization header of a user."""
    return lambda actor: {"Authorization": f"Bearer {issuer.tokens(actor)['access_token']}"}


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory, migrated_databases: MigratedDatabases, issuer: EmbeddedIssuer
) -> Iterator[Scene]:
    """Two groups with entries in every state, for the tests of one file; `restore` brings it back."""
    from tests.integration.api.matrix import scene as scenes

    made = scenes.build(tmp_path_factory.mktemp("scene"), migrated_databases.sqlite(), issuer)
    yield made
    made.house.sessions.close()


@pytest.fixture(scope="module")
def client(scene: Scene, issuer: EmbeddedIssuer, portal: BlockingPortal) -> TestClient:
    """The API of the scene, for requests that follow no redirect."""
    opened = TestClient(
        create_app(scene.house, Identity(issuer)), follow_redirects=False, raise_server_exceptions=False
    )
    opened.portal = portal
    return opened
