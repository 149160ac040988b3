"""How keys of objects are stored."""

from __future__ import annotations

from sqlalchemy import String

KEY = String().with_variant(String(collation="C"), "postgresql")
"""Keys in the order of their bytes, as S3 lists them: SQLite's own order, and not that of PostgreSQL's language."""
