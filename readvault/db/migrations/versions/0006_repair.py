"""A pinned version that was lost may be replaced by one with the same bytes, and the database knows it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "repair",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", _KEY, nullable=False),
        sa.Column("lost_version_id", sa.String(), nullable=True),
        sa.Column("version_id", sa.String(), nullable=True),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_repair_key", "repair", ["key", "id"], unique=False)
    op.create_table(
        "second_copy",
        sa.Column("key", _KEY, nullable=False),
        sa.Column("owed_at", sa.Float(), nullable=False),
        sa.Column("copied_at", sa.Float(), nullable=True),
        sa.Column("version_id", sa.String(), nullable=True),
        sa.Column("sha256", sa.String(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("checked_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    owed = sa.text("copied_at IS NULL")
    op.create_index("ix_second_copy_owed", "second_copy", ["key"], sqlite_where=owed, postgresql_where=owed)
    op.create_index("ix_second_copy_checked", "second_copy", ["checked_at", "key"])
    op.create_table(
        "bookmark",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("position", _KEY, nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.add_column("fixity_check", sa.Column("unrepaired", sa.String(), nullable=True))
    op.create_index("ix_fixity_check_checked", "fixity_check", ["checked_at"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_fixity_check_checked", table_name="fixity_check")
    op.drop_column("fixity_check", "unrepaired")
    op.drop_table("bookmark")
    op.drop_index("ix_second_copy_checked", table_name="second_copy")
    op.drop_index("ix_second_copy_owed", table_name="second_copy")
    op.drop_table("second_copy")
    op.drop_index("ix_repair_key", table_name="repair")
    op.drop_table("repair")
