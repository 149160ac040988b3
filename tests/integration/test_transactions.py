"""The watch over write transactions notices what it is there for."""

from __future__ import annotations

import pytest

from readvault.services.house import House
from tests.fakes import MemoryStore


def test_s3_is_not_asked_inside_a_write_transaction(house: House, store: MemoryStore) -> None:
    with house.sessions.read():
        list(store.list_versions("incoming/"))
    with house.sessions.begin():
        assert store.sign_put("incoming/a", size=1, sha256=None, expires=60).url
        with pytest.raises(AssertionError, match="list_versions is asked of S3 inside a write transaction"):
            list(store.list_versions("incoming/"))
    list(store.list_versions("incoming/"))
