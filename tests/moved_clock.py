"""A database's clock that a test moves: SQLite's own, which `db.clock` asks, is replaced on every connection."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, event

_JULIAN_1970 = 2440587.5


@dataclass
class MovedClock:
    """Seconds that the database is ahead of us."""

    ahead: float = 0.0

    def now(self) -> float:
        """The seconds since 1970 by the moved clock."""
        return time.time() + self.ahead

    def jump(self, hours: float) -> None:
        """Let so much time pass at once."""
        self.ahead += hours * 3600

    def move(self, engine: Engine) -> None:
        """Have this SQLite database tell this clock's time from its next connection on."""
        event.listen(engine, "connect", self._replace)
        engine.dispose()

    def _replace(self, connection: Any, _record: Any) -> None:
        connection.create_function("julianday", 1, lambda _: self.now() / 86400 + _JULIAN_1970)
