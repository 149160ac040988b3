"""Which released reads were screened with which host index, what is withheld since, which originals are open."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from readvault.db import immutability

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_ENTRY = (["accession", "version"], ["entry_version.accession", "entry_version.version"])


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "screening",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("organism", sa.String(), nullable=False),
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("manifest_id", sa.Integer(), nullable=False),
        sa.Column("index_sha256", sa.String(), nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("by_processing", sa.Boolean(), nullable=False),
        sa.Column("reads", sa.BigInteger(), nullable=False),
        sa.Column("hits", sa.BigInteger(), nullable=False),
        sa.Column("too_short", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(*_ENTRY),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifest.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("manifest_id", "index_sha256"),
    )
    op.create_index("ix_screening_entry", "screening", ["accession", "version", "id"])
    op.create_index("ix_screening_index", "screening", ["organism", "index_sha256"])
    op.create_table(
        "withholding",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("manifest_id", sa.Integer(), nullable=False),
        sa.Column("withheld", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(*_ENTRY),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifest.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_withholding_manifest", "withholding", ["manifest_id", "id"])
    op.create_index("ix_withholding_entry", "withholding", ["accession", "version", "id"])
    op.create_table(
        "original_opening",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("manifest_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(*_ENTRY),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifest.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_original_opening_entry", "original_opening", ["accession", "version", "id"])
    op.create_index("ix_original_opening_step", "original_opening", ["step", "at"])


def downgrade() -> None:
    """Drop them."""
    # The rules speak of these tables; an older readvault emits its own when it starts.
    immutability.lift(op.get_bind())
    for table in ("original_opening", "withholding", "screening"):
        op.drop_table(table)
