"""Files are found by the SHA-256 that was declared for them, before our own fetch has computed it."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index."""
    op.create_index("ix_uploaded_file_declared", "uploaded_file", ["group_id", "declared_sha256"], unique=False)


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_uploaded_file_declared", table_name="uploaded_file")
