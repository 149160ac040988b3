"""Drop links: who may deliver files for a group without an account, and what came that way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "drop_link",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("organism", sa.String(), nullable=True),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("token_sha256", sa.String(), nullable=False),
        sa.Column("categories", sa.JSON(), nullable=True),
        sa.Column("formats", sa.JSON(), nullable=True),
        sa.Column("bytes_quota", sa.BigInteger(), nullable=False),
        sa.Column("objects_quota", sa.Integer(), nullable=False),
        sa.Column("used_bytes", sa.BigInteger(), nullable=False),
        sa.Column("used_objects", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("by_maintainer", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["group_id"], ["submitting_group.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_sha256"),
    )
    op.create_index("ix_drop_link_group_id", "drop_link", ["group_id"])
    op.create_index("ix_drop_link_created_by", "drop_link", ["created_by"])
    op.create_table(
        "dropped_file",
        sa.Column("object_name", sa.String(), nullable=False),
        sa.Column("link_id", sa.String(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("file_id", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("category", sa.String(), nullable=True),
        sa.Column("way", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reserved_bytes", sa.BigInteger(), nullable=False),
        sa.Column("charged_versions", sa.JSON(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("version_id", sa.String(), nullable=True),
        sa.Column("announced_at", sa.Float(), nullable=False),
        sa.Column("arrived_at", sa.Float(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("settle_until", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["link_id"], ["drop_link.id"]),
        sa.PrimaryKeyConstraint("object_name"),
        sa.UniqueConstraint("file_id"),
    )
    op.create_index("ix_dropped_file_group", "dropped_file", ["group_id", "state", "object_name"])
    op.create_index("ix_dropped_file_link", "dropped_file", ["link_id", "state"])
    op.create_index("ix_dropped_file_state", "dropped_file", ["state", "object_name"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("dropped_file")
    op.drop_table("drop_link")
