"""Documents wait here until they lie in the bucket, from which the database can be rebuilt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
# Everything that is there already gets its record too; results come before the version that names them.
_WHAT_IS_THERE = (
    "SELECT 'group', CAST(id AS VARCHAR(20)), 0.0 FROM submitting_group ORDER BY id",
    "SELECT 'organism', organism, 0.0 FROM organism_state ORDER BY organism",
    "SELECT 'result', CAST(id AS VARCHAR(20)), 0.0 FROM manifest WHERE superseded_at IS NULL ORDER BY id",
    "SELECT 'version', accession || '.' || version, 0.0 FROM entry_version ORDER BY accession, version",
    "SELECT 'version', accession || '.' || version, 0.0 FROM deleted_entry_version ORDER BY accession, version",
)


def upgrade() -> None:
    """Create the table, and queue records of all that is there."""
    op.create_table(
        "pending_record",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key", _KEY, nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    for found in _WHAT_IS_THERE:
        op.execute(f"INSERT INTO pending_record (kind, key, created_at) {found}")


def downgrade() -> None:
    """Drop it."""
    op.drop_table("pending_record")
