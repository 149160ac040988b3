"""A condition that nearly all rows of interest meet: a hint for SQLite, which knows nothing of what its tables hold."""

from __future__ import annotations

from typing import Any

from sqlalchemy import types
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class likely(FunctionElement[Any]):  # noqa: N801 - it reads as the SQL function that it is
    """The condition itself; SQLite is told not to look for its rows by an index of that condition.

    Without statistics SQLite takes every equality for a rare one, and so an index by the state of a job
    for better than the index of exactly the jobs that are asked for.
    """

    type = types.NullType()  # a Boolean would be compared with 1, and the hint not be seen
    inherit_cache = True


@compiles(likely, "sqlite")
def _sqlite(element: likely, compiler: Any, **options: Any) -> str:
    return f"likelihood({compiler.process(element.clauses, **options)}, 0.99)"


@compiles(likely, "postgresql")
def _postgresql(element: likely, compiler: Any, **options: Any) -> str:
    return f"({compiler.process(element.clauses, **options)})"
