"""Prefect's server on a database file: who writes waits for who wrote before, instead of failing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect.server.database.configurations import AioSqliteConfiguration

from readvault.adapters import prefect_server

AT_ONCE = 8


@pytest.fixture
def database(tmp_path: Path) -> AioSqliteConfiguration:
    return AioSqliteConfiguration(f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}")


async def _add_one(database: AioSqliteConfiguration, engine: Any, begin: prefect_server.Begin) -> None:
    """Read, let others go on, write what was read plus one: what Prefect does with the state of a run."""
    async with await database.session(engine) as session, begin(database, session):
        read = (await session.execute(sa.text("SELECT value FROM number"))).scalar_one()
        await asyncio.sleep(0.01)
        await session.execute(sa.text("UPDATE number SET value = :value"), {"value": read + 1})


async def _all_at_once(database: AioSqliteConfiguration, begin: prefect_server.Begin) -> tuple[list[Any], int]:
    engine = await database.engine()
    async with engine.begin() as connection:
        await connection.execute(sa.text("CREATE TABLE number (value INTEGER)"))
        await connection.execute(sa.text("INSERT INTO number VALUES (0)"))
    adding = [_add_one(database, engine, begin) for _ in range(AT_ONCE)]
    faults = [fault for fault in await asyncio.gather(*adding, return_exceptions=True) if fault is not None]
    async with engine.begin() as connection:
        value = (await connection.execute(sa.text("SELECT value FROM number"))).scalar_one()
    return faults, int(value)


def test_without_turns_prefect_fails_on_a_locked_database(database: AioSqliteConfiguration) -> None:
    """What is mended here is still broken there; when this fails, `prefect_server` has become needless."""
    faults, value = asyncio.run(_all_at_once(database, AioSqliteConfiguration.begin_transaction))
    assert faults
    assert all("database is locked" in str(fault) for fault in faults)
    assert value == AT_ONCE - len(faults)


def test_in_turn_everybody_writes(database: AioSqliteConfiguration) -> None:
    begin = prefect_server.in_turn(AioSqliteConfiguration.begin_transaction)
    assert asyncio.run(_all_at_once(database, begin)) == ([], AT_ONCE)


def test_a_transaction_within_another_does_not_wait_for_it(database: AioSqliteConfiguration) -> None:
    begin = prefect_server.in_turn(AioSqliteConfiguration.begin_transaction)

    async def within() -> int:
        engine = await database.engine()
        async with await database.session(engine) as outer, begin(database, outer):
            await outer.execute(sa.text("SELECT 1"))
            async with await database.session(engine) as inner, begin(database, inner):
                return int((await inner.execute(sa.text("SELECT 2"))).scalar_one())

    assert asyncio.run(asyncio.wait_for(within(), 20)) == 2


def test_the_settings_are_settings_of_prefect() -> None:
    """A name that Prefect doesn't know would be ignored without a word."""
    from prefect.settings.legacy import _get_settings_fields
    from prefect.settings.models.root import Settings

    known = set(_get_settings_fields(Settings))
    assert set(prefect_server.SETTINGS) <= known
