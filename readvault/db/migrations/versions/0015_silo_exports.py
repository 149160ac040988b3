"""Exports of aligned reads for SILO, and the parts that they are put together from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from readvault.db import immutability
from readvault.db.tables.keys import KEY

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "silo_export",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("organism", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("begun_at", sa.Float(), nullable=False),
        sa.Column("alive_until", sa.Float(), nullable=True),
        sa.Column("ready_at", sa.Float(), nullable=True),
        sa.Column("dropped_at", sa.Float(), nullable=True),
        sa.Column("why", sa.String(), nullable=True),
        sa.Column("content", sa.String(), nullable=True),
        sa.Column("manifest_digest", sa.String(), nullable=True),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    building = sa.text("state = 'building'")
    op.create_index(
        "ix_silo_export_building", "silo_export", ["organism"], unique=True,
        sqlite_where=building, postgresql_where=building,
    )  # fmt: skip
    op.create_index("ix_silo_export_ready", "silo_export", ["organism", "state", "ready_at"])
    op.create_table(
        "silo_export_file",
        sa.Column("export_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("key", KEY, nullable=False),
        sa.Column("version_id", sa.String(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["export_id"], ["silo_export.id"]),
        sa.PrimaryKeyConstraint("export_id", "name"),
    )
    op.create_index("ix_silo_export_file_key", "silo_export_file", ["key"])
    op.create_table(
        "silo_export_member",
        sa.Column("export_id", sa.String(), nullable=False),
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("manifest_id", sa.Integer(), nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["export_id"], ["silo_export.id"]),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifest.id"]),
        sa.PrimaryKeyConstraint("export_id", "accession", "version"),
    )
    op.create_index("ix_silo_export_member_entry", "silo_export_member", ["accession", "version"])
    op.create_index("ix_silo_export_member_manifest_id", "silo_export_member", ["manifest_id"])
    op.create_table(
        "silo_part",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("organism", sa.String(), nullable=False),
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("key", KEY, nullable=False),
        sa.Column("version_id", sa.String(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("reads", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("accession", "version", "recipe"),
    )
    op.create_index("ix_silo_part_key", "silo_part", ["key"])
    op.create_index("ix_silo_part_made", "silo_part", ["made_at"])


def downgrade() -> None:
    """Drop them."""
    # The rules speak of all tables; an older readvault emits its own when it starts.
    immutability.lift(op.get_bind())
    for table in ("silo_part", "silo_export_member", "silo_export_file", "silo_export"):
        op.drop_table(table)
