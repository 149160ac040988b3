"""A job knows how urgent it is, how much it reads, and for which reprocessing it is done."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and the indexes by which jobs are found in their order."""
    op.add_column("job", sa.Column("priority", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("job", sa.Column("input_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("job", sa.Column("reprocessing_id", sa.Integer(), nullable=True))
    queued = sa.text("state = 'queued'")
    op.create_index(
        "ix_job_queue", "job", ["priority", "created_at", "id"], sqlite_where=queued, postgresql_where=queued
    )
    wanted = sa.text("reprocessing_id IS NOT NULL")
    op.create_index(
        "ix_job_reprocessing", "job", ["reprocessing_id", "state"], sqlite_where=wanted, postgresql_where=wanted
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_job_reprocessing", table_name="job")
    op.drop_index("ix_job_queue", table_name="job")
    op.drop_column("job", "reprocessing_id")
    op.drop_column("job", "input_bytes")
    op.drop_column("job", "priority")
