"""Objects are found by key, in the order of the bucket, and what is known of their bytes is written down."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table and the indexes."""
    if op.get_bind().dialect.name == "postgresql":
        for table in ("uploaded_file", "stored_object"):
            op.execute(f'ALTER TABLE {table} ALTER COLUMN key TYPE VARCHAR COLLATE "C"')
    op.create_index("ix_uploaded_file_key", "uploaded_file", ["key"], unique=False)
    op.create_index("ix_stored_object_key", "stored_object", ["key"], unique=False)
    op.create_table(
        "fixity_check",
        sa.Column("key", _KEY, nullable=False),
        sa.Column("checked_at", sa.Float(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("damage", sa.String(), nullable=True),
        sa.Column("damaged_since", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index(
        "ix_fixity_check_damaged",
        "fixity_check",
        ["key"],
        unique=False,
        sqlite_where=sa.text("damage IS NOT NULL"),
        postgresql_where=sa.text("damage IS NOT NULL"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_fixity_check_damaged", table_name="fixity_check")
    op.drop_table("fixity_check")
    op.drop_index("ix_stored_object_key", table_name="stored_object")
    op.drop_index("ix_uploaded_file_key", table_name="uploaded_file")
