"""One client's slow or big requests never keep a probe, or somebody else, waiting for long."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from readvault.services.house import House
from readvault.services.release import manifest_list, queries, released_data
from tests.houses import ALICE, group_of

MORE_THAN_THREADS = 60
"""A server has forty threads for requests."""


def _stuck(app: FastAPI, until: threading.Event) -> None:
    def wait() -> None:
        until.wait(30)

    app.add_api_route("/groups/stuck", wait)
    app.router.routes.insert(0, app.router.routes.pop())


def _client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver", timeout=30)


def test_a_probe_is_answered_while_every_thread_is_busy(app: FastAPI) -> None:
    free = threading.Event()
    _stuck(app, free)

    async def scenario() -> tuple[float, int]:
        async with _client(app) as client:
            waiting = [asyncio.create_task(client.get("/groups/stuck")) for _ in range(MORE_THAN_THREADS)]
            await asyncio.sleep(0.2)
            started = time.monotonic()
            answers = [await client.get(path) for path in ("/actuator/health", "/")]
            took = time.monotonic() - started
            assert [answer.status_code for answer in answers] == [200, 200]
            still = sum(not task.done() for task in waiting)
            free.set()
            await asyncio.gather(*waiting)
            return took, still

    took, still = asyncio.run(scenario())
    assert still == MORE_THAN_THREADS
    assert took < 5


def test_a_probe_is_answered_while_every_connection_is_in_use(app: FastAPI, house: House) -> None:
    held = []
    try:
        pool: Any = house.sessions.engine.pool
        held = [house.sessions.engine.connect() for _ in range(pool.size() + pool._max_overflow)]

        async def scenario() -> int:
            async with _client(app) as client:
                return (await asyncio.wait_for(client.get("/actuator/health"), 10)).status_code

        assert asyncio.run(scenario()) == 200
    finally:
        for connection in held:
            connection.close()


def test_a_probe_tells_a_database_that_is_gone(app: FastAPI, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    url = house.sessions.engine.url
    gone = url.set(database="/nowhere/at/all.sqlite") if url.get_backend_name() == "sqlite" else url.set(port=9)
    monkeypatch.setattr(house.sessions.engine, "url", gone)

    async def scenario() -> tuple[int, Any]:
        async with _client(app) as client:
            answer = await client.get("/actuator/health")
            return answer.status_code, answer.json()

    assert asyncio.run(scenario()) == (503, {"status": "DOWN"})


@pytest.mark.parametrize("kind", ["a body that drips", "a big body"])
def test_others_are_answered_while_a_body_comes_in(app: FastAPI, house: House, headers: Any, kind: str) -> None:
    group_id = group_of(house, ALICE)
    done = asyncio.Event()

    async def dripping() -> AsyncIterator[bytes]:
        yield b'{"groupId": '
        while not done.is_set():
            await asyncio.sleep(0.01)
            yield b" "
        yield b'1, "files": []}'

    async def big() -> AsyncIterator[bytes]:
        yield b'{"groupId": 1, "files": ["'
        for _ in range(150):
            yield b"x" * 100_000
        yield b'"]}'

    async def scenario() -> float:
        sent = {**headers(ALICE), "Content-Type": "application/json"}
        async with _client(app) as client:
            bodies = [dripping() if kind == "a body that drips" else big() for _ in range(5)]
            slow = [asyncio.create_task(client.post("/files/request-uploads", content=body, headers=sent))
                    for body in bodies]  # fmt: skip
            await asyncio.sleep(0.05)
            longest = 0.0
            for _ in range(5):
                started = time.monotonic()
                answers = [await client.get("/actuator/health"), await client.get(f"/groups/{group_id}")]
                longest = max(longest, time.monotonic() - started)
                assert [answer.status_code for answer in answers] == [200, 200]
            done.set()
            assert {answer.status_code for answer in await asyncio.gather(*slow)} == {400}
            return longest

    assert asyncio.run(scenario()) < 5


@pytest.mark.parametrize(
    "path", ["lapis/sample/aggregated", "lapis/sample/details", "get-released-data", "manifests?country=nowhere"]
)
def test_others_are_answered_while_strangers_read_all_that_is_released(
    app: FastAPI, house: House, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    free = threading.Event()
    group_id = group_of(house, ALICE)

    def slow(*_: object, **__: object) -> Iterator[Any]:
        free.wait(30)
        yield from ()

    for module, name in ((queries, "released_data"), (released_data, "released_data"), (manifest_list, "released")):
        monkeypatch.setattr(module, name, slow)

    async def scenario() -> float:
        async with _client(app) as client:
            waiting = [asyncio.create_task(client.get(f"/sars-cov-2/{path}")) for _ in range(MORE_THAN_THREADS)]
            await asyncio.sleep(0.2)
            started = time.monotonic()
            try:
                assert (await asyncio.wait_for(client.get(f"/groups/{group_id}"), 10)).status_code == 200
                took = time.monotonic() - started
                assert not any(task.done() for task in waiting)
            finally:
                free.set()
            assert {answer.status_code for answer in await asyncio.gather(*waiting)} <= {200, 400}
            return took

    assert asyncio.run(scenario()) < 5
