"""The one clock: the database's own, so that several machines agree on leases and expiry."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Float, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlmodel import Session


class now(FunctionElement[float]):  # noqa: N801 - it reads as the SQL function that it is
    """An SQL expression: the seconds since 1970 (UTC) by the database's clock, as a float.

    On PostgreSQL it is the moment of evaluation, not the start of the transaction.
    """

    type = Float()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite(element: now, compiler: Any, **options: Any) -> str:
    # unixepoch('subsec') needs SQLite 3.42, which current Linux releases do not all have.
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgresql(element: now, compiler: Any, **options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


def read(session: Session) -> float:
    """The seconds since 1970 (UTC) by the database's clock."""
    return float(session.execute(select(now())).scalar_one())
