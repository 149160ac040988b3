"""What was shredded, and the proof of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from readvault.db import immutability

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "erasure",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("accession_versions", sa.JSON(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("objects", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("requested_at", sa.Float(), nullable=False),
        sa.Column("confirmed_by", sa.String(), nullable=True),
        sa.Column("confirmed_at", sa.Float(), nullable=True),
        sa.Column("not_before", sa.Float(), nullable=True),
        sa.Column("called_off", sa.JSON(), nullable=False),
        sa.Column("waits_for", sa.String(), nullable=True),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("proof", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "erased_version",
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("organism", sa.String(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("erasure_id", sa.Integer(), nullable=False),
        sa.Column("was_released", sa.Boolean(), nullable=False),
        sa.Column("manifest_digests", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("erased_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["erasure_id"], ["erasure.id"]),
        sa.ForeignKeyConstraint(["group_id"], ["submitting_group.id"]),
        sa.PrimaryKeyConstraint("accession", "version"),
    )
    op.create_index("ix_erased_version_erasure_id", "erased_version", ["erasure_id"], unique=False)
    op.create_table(
        "erased_object",
        sa.Column("key", _KEY, nullable=False),
        sa.Column("version_id", sa.String(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("erasure_id", sa.Integer(), nullable=False),
        sa.Column("erased_at", sa.Float(), nullable=False),
        sa.Column("deleted_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["erasure_id"], ["erasure.id"]),
        sa.PrimaryKeyConstraint("key", "version_id", "place"),
    )
    op.create_index("ix_erased_object_erasure_id", "erased_object", ["erasure_id"], unique=False)


def downgrade() -> None:
    """Drop them."""
    # The rules speak of these tables; an older readvault emits its own when it starts.
    immutability.lift(op.get_bind())
    op.drop_index("ix_erased_object_erasure_id", table_name="erased_object")
    op.drop_table("erased_object")
    op.drop_index("ix_erased_version_erasure_id", table_name="erased_version")
    op.drop_table("erased_version")
    op.drop_table("erasure")
