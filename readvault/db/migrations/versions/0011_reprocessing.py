"""Orders to reprocess entries, and what the comparison of each new result said."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "reprocessing",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("organism", sa.String(), nullable=False),
        sa.Column("pipeline_version", sa.Integer(), nullable=False),
        sa.Column("choice", sa.Text(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("automatic", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("per_hour", sa.Integer(), nullable=True),
        sa.Column("planned_entries", sa.BigInteger(), nullable=False),
        sa.Column("planned_bytes", sa.BigInteger(), nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("requested_at", sa.Float(), nullable=False),
        sa.Column("confirmed_by", sa.String(), nullable=True),
        sa.Column("confirmed_at", sa.Float(), nullable=True),
        sa.Column("after_accession", sa.String(), nullable=False),
        sa.Column("after_version", sa.Integer(), nullable=False),
        sa.Column("fed", sa.Boolean(), nullable=False),
        sa.Column("queued", sa.BigInteger(), nullable=False),
        sa.Column("pace_since", sa.Float(), nullable=False),
        sa.Column("pace_queued", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.Column("rolled_back_by", sa.String(), nullable=True),
        sa.Column("rolled_back_at", sa.Float(), nullable=True),
        sa.Column("rolled_back_reason", sa.String(), nullable=True),
        sa.Column("roll_back_after", sa.Integer(), nullable=False),
        sa.Column("roll_back_done", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_reprocessing_organism", "reprocessing", ["organism", "pipeline_version"])
    op.create_index("ix_reprocessing_state", "reprocessing", ["state"])
    by_itself = sa.text("automatic")
    op.create_index(
        "uq_reprocessing_automatic",
        "reprocessing",
        ["organism", "pipeline_version"],
        unique=True,
        sqlite_where=by_itself,
        postgresql_where=by_itself,
    )
    op.create_table(
        "compared_result",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("manifest_id", sa.Integer(), nullable=False),
        sa.Column("compared_manifest_id", sa.Integer(), nullable=False),
        sa.Column("reprocessing_id", sa.Integer(), nullable=True),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("compared_at", sa.Float(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=True),
        sa.Column("decided_at", sa.Float(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["accession", "version"], ["entry_version.accession", "entry_version.version"]),
        sa.ForeignKeyConstraint(["compared_manifest_id"], ["manifest.id"]),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifest.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("manifest_id"),
    )
    op.create_index("ix_compared_result_compared_manifest_id", "compared_result", ["compared_manifest_id"])
    op.create_index("ix_compared_result_entry", "compared_result", ["accession", "version"])
    op.create_index("ix_compared_result_state", "compared_result", ["state", "id"])
    wanted = sa.text("reprocessing_id IS NOT NULL")
    op.create_index(
        "ix_compared_result_reprocessing",
        "compared_result",
        ["reprocessing_id", "state", "id"],
        sqlite_where=wanted,
        postgresql_where=wanted,
    )
    # A dispatcher looks every two seconds: it must not walk over all that waits for its turn.
    for name, columns, condition in (
        ("ix_job_undelivered", ["priority", "created_at", "id"], "run_id IS NULL"),
        ("ix_job_delivered", ["run_checked_at"], "run_id IS NOT NULL"),
    ):
        where = sa.text(f"state = 'queued' AND {condition}")
        op.create_index(name, "job", columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_job_delivered", table_name="job")
    op.drop_index("ix_job_undelivered", table_name="job")
    op.drop_table("compared_result")
    op.drop_table("reprocessing")
