"""Files that stay in a bucket of their group."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from readvault.db import immutability
from readvault.db.tables.keys import KEY

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, and mark pulls that only refer."""
    op.add_column("pull", sa.Column("by_reference", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "referenced_file",
        sa.Column("file_id", sa.String(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=True),
        sa.Column("region", sa.String(), nullable=True),
        sa.Column("bucket", sa.String(), nullable=True),
        sa.Column("place", KEY, nullable=False),
        sa.Column("etag", sa.String(), nullable=False),
        sa.Column("version_id", sa.String(), nullable=True),
        sa.Column("referenced_at", sa.Float(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["file_id"], ["uploaded_file.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("file_id"),
    )
    op.create_index("ix_referenced_file_bucket", "referenced_file", ["endpoint", "bucket"])


def downgrade() -> None:
    """Drop it."""
    # The rules speak of all tables; an older readvault emits its own when it starts.
    immutability.lift(op.get_bind())
    op.drop_table("referenced_file")
    op.drop_column("pull", "by_reference")
