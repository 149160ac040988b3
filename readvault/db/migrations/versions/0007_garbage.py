"""What nothing refers to is condemned before it is deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "condemned_version",
        sa.Column("key", _KEY, nullable=False),
        sa.Column("version_id", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("condemned_at", sa.Float(), nullable=False),
        sa.Column("deleting_since", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("key", "version_id"),
    )
    op.create_index("ix_condemned_version_at", "condemned_version", ["condemned_at"], unique=False)


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_condemned_version_at", table_name="condemned_version")
    op.drop_table("condemned_version")
