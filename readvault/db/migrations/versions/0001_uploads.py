"""People, groups, uploads and the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("previous_sha256", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "submitting_group",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("institution", sa.String(), nullable=False),
        sa.Column("address", sa.JSON(), nullable=False),
        sa.Column("contact_email", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "upload_usage",
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("sealed_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope"),
    )
    op.create_table(
        "user_account",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "group_member",
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("user_name", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["submitting_group.id"],
        ),
        sa.PrimaryKeyConstraint("group_id", "user_name"),
    )
    op.create_table(
        "uploaded_file",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("batch_id", sa.String(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("uploader", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("content_type", sa.String(), nullable=True),
        sa.Column("declared_size", sa.BigInteger(), nullable=True),
        sa.Column("declared_sha256", sa.String(), nullable=True),
        sa.Column("multipart_upload_id", sa.String(), nullable=True),
        sa.Column("multipart_part_size", sa.BigInteger(), nullable=True),
        sa.Column("multipart_completed", sa.Boolean(), nullable=False),
        sa.Column("requested_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("sealed_at", sa.Float(), nullable=True),
        sa.Column("version_id", sa.String(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["submitting_group.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_uploaded_file_batch", "uploaded_file", ["batch_id"], unique=False)
    op.create_index(
        "ix_uploaded_file_expiry",
        "uploaded_file",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("sealed_at IS NULL"),
        postgresql_where=sa.text("sealed_at IS NULL"),
    )
    op.create_index(op.f("ix_uploaded_file_group_id"), "uploaded_file", ["group_id"], unique=False)
    op.create_index(
        "ix_uploaded_file_open_of_group",
        "uploaded_file",
        ["group_id"],
        unique=False,
        sqlite_where=sa.text("sealed_at IS NULL"),
        postgresql_where=sa.text("sealed_at IS NULL"),
    )
    op.create_index(
        "ix_uploaded_file_open_of_user",
        "uploaded_file",
        ["uploader"],
        unique=False,
        sqlite_where=sa.text("sealed_at IS NULL"),
        postgresql_where=sa.text("sealed_at IS NULL"),
    )
    op.create_index("ix_uploaded_file_own", "uploaded_file", ["group_id", "sha256", "size"], unique=False)
    op.create_index("ix_uploaded_file_window", "uploaded_file", ["group_id", "requested_at"], unique=False)


def downgrade() -> None:
    """Drop the tables."""
    op.drop_index("ix_uploaded_file_window", table_name="uploaded_file")
    op.drop_index("ix_uploaded_file_own", table_name="uploaded_file")
    op.drop_index(
        "ix_uploaded_file_open_of_user",
        table_name="uploaded_file",
        sqlite_where=sa.text("sealed_at IS NULL"),
        postgresql_where=sa.text("sealed_at IS NULL"),
    )
    op.drop_index(
        "ix_uploaded_file_open_of_group",
        table_name="uploaded_file",
        sqlite_where=sa.text("sealed_at IS NULL"),
        postgresql_where=sa.text("sealed_at IS NULL"),
    )
    op.drop_index(op.f("ix_uploaded_file_group_id"), table_name="uploaded_file")
    op.drop_index(
        "ix_uploaded_file_expiry",
        table_name="uploaded_file",
        sqlite_where=sa.text("sealed_at IS NULL"),
        postgresql_where=sa.text("sealed_at IS NULL"),
    )
    op.drop_index("ix_uploaded_file_batch", table_name="uploaded_file")
    op.drop_table("uploaded_file")
    op.drop_table("group_member")
    op.drop_table("user_account")
    op.drop_table("upload_usage")
    op.drop_table("submitting_group")
    op.drop_table("audit_log")
