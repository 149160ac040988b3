"""What nothing refers to is condemned before it is deleted; what parts of chains refer to can be looked up."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_PART = ("accession", "version", "pipeline_version", "source")


def upgrade() -> None:
    """Create the tables, and look up what the parts that are there refer to."""
    op.create_table(
        "condemned_version",
        sa.Column("key", _KEY, nullable=False),
        sa.Column("version_id", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("condemned_at", sa.Float(), nullable=False),
        sa.Column("deleting_since", sa.Float(), nullable=True),
        sa.Column("deleted_at", sa.Float(), nullable=True),
        sa.Column("note", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("key", "version_id"),
    )
    op.create_index("ix_condemned_version_at", "condemned_version", ["condemned_at"], unique=False)
    partial_file = op.create_table(
        "partial_file",
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("pipeline_version", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("key", _KEY, nullable=True),
        sa.Column("file_id", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(list(_PART), [f"partial_result.{name}" for name in _PART], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint(*_PART, "place"),
    )
    op.create_index("ix_partial_file_key", "partial_file", ["key"], unique=False)
    op.create_index("ix_partial_file_file_id", "partial_file", ["file_id"], unique=False)
    _look_up(partial_file)


def _look_up(partial_file: sa.Table) -> None:
    parts = sa.text(f"SELECT {', '.join(_PART)}, files FROM partial_result")  # noqa: S608 - no input
    connection = op.get_bind()
    for *name, files in connection.execute(parts).all():
        listed = json.loads(files) if isinstance(files, str) else files
        rows = [
            {**dict(zip(_PART, name, strict=True)), "place": place, "key": file.get("key"),
             "file_id": file.get("file_id")}
            for place, file in enumerate(listed)
        ]  # fmt: skip
        if rows:
            connection.execute(sa.insert(partial_file), rows)


def downgrade() -> None:
    """Drop them."""
    op.drop_table("partial_file")
    op.drop_index("ix_condemned_version_at", table_name="condemned_version")
    op.drop_table("condemned_version")
