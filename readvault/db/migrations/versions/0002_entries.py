"""Entries, jobs, manifests and releases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "accession_counter",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "entry_version",
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("organism", sa.String(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("submission_id", sa.String(), nullable=False),
        sa.Column("submitter", sa.String(), nullable=False),
        sa.Column("submitted_at", sa.Float(), nullable=False),
        sa.Column("is_revocation", sa.Boolean(), nullable=False),
        sa.Column("version_comment", sa.String(), nullable=True),
        sa.Column("terms_type", sa.String(), nullable=False),
        sa.Column("restricted_until", sa.String(), nullable=True),
        sa.Column("submitted_metadata", sa.JSON(), nullable=False),
        sa.Column("submitted_sequences", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["submitting_group.id"],
        ),
        sa.PrimaryKeyConstraint("accession", "version"),
    )
    op.create_index(
        "ix_entry_version_listing", "entry_version", ["organism", "group_id", "accession", "version"], unique=False
    )
    op.create_table(
        "stored_object",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("version_id", sa.String(), nullable=True),
        sa.Column("stored_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["submitting_group.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("group_id", "sha256"),
    )
    op.create_table(
        "entry_file",
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("file_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["accession", "version"],
            ["entry_version.accession", "entry_version.version"],
        ),
        sa.ForeignKeyConstraint(
            ["file_id"],
            ["uploaded_file.id"],
        ),
        sa.PrimaryKeyConstraint("accession", "version", "category", "name"),
    )
    op.create_index(op.f("ix_entry_file_file_id"), "entry_file", ["file_id"], unique=False)
    op.create_table(
        "job",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("organism", sa.String(), nullable=False),
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("pipeline_version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("not_before", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("handbacks", sa.Integer(), nullable=False),
        sa.Column("runs_alone", sa.Boolean(), nullable=False),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.Column("deliveries", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("delivered_at", sa.Float(), nullable=True),
        sa.Column("run_checked_at", sa.Float(), nullable=True),
        sa.Column("run_idle_since", sa.Float(), nullable=True),
        sa.Column("last_error", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["accession", "version"],
            ["entry_version.accession", "entry_version.version"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_job_entry", "job", ["accession", "version"], unique=False)
    op.create_index("ix_job_open", "job", ["state", "not_before"], unique=False)
    op.create_table(
        "manifest",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("pipeline_version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("processing_result", sa.String(), nullable=False),
        sa.Column("errors", sa.JSON(), nullable=False),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.Column("processed_data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("superseded_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["accession", "version"],
            ["entry_version.accession", "entry_version.version"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "uq_manifest_current",
        "manifest",
        ["accession", "version", "pipeline_version"],
        unique=True,
        sqlite_where=sa.text("superseded_at IS NULL"),
        postgresql_where=sa.text("superseded_at IS NULL"),
    )
    op.create_table(
        "manifest_file",
        sa.Column("manifest_id", sa.Integer(), nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("file_id", sa.String(), nullable=False),
        sa.Column("stored_object_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"],
            ["manifest.id"],
        ),
        sa.ForeignKeyConstraint(
            ["stored_object_id"],
            ["stored_object.id"],
        ),
        sa.PrimaryKeyConstraint("manifest_id", "category", "name"),
    )
    op.create_index(op.f("ix_manifest_file_file_id"), "manifest_file", ["file_id"], unique=False)
    op.create_index(op.f("ix_manifest_file_stored_object_id"), "manifest_file", ["stored_object_id"], unique=False)
    op.create_table(
        "release",
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("manifest_id", sa.Integer(), nullable=False),
        sa.Column("released_at", sa.Float(), nullable=False),
        sa.Column("approver", sa.String(), nullable=False),
        sa.Column("digest_was_given", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["accession", "version"],
            ["entry_version.accession", "entry_version.version"],
        ),
        sa.ForeignKeyConstraint(
            ["manifest_id"],
            ["manifest.id"],
        ),
        sa.PrimaryKeyConstraint("accession", "version"),
    )
    op.create_index(op.f("ix_release_manifest_id"), "release", ["manifest_id"], unique=False)


def downgrade() -> None:
    """Drop the tables."""
    op.drop_index(op.f("ix_release_manifest_id"), table_name="release")
    op.drop_table("release")
    op.drop_index(op.f("ix_manifest_file_stored_object_id"), table_name="manifest_file")
    op.drop_index(op.f("ix_manifest_file_file_id"), table_name="manifest_file")
    op.drop_table("manifest_file")
    op.drop_index(
        "uq_manifest_current",
        table_name="manifest",
        sqlite_where=sa.text("superseded_at IS NULL"),
        postgresql_where=sa.text("superseded_at IS NULL"),
    )
    op.drop_table("manifest")
    op.drop_index("ix_job_open", table_name="job")
    op.drop_index("ix_job_entry", table_name="job")
    op.drop_table("job")
    op.drop_index(op.f("ix_entry_file_file_id"), table_name="entry_file")
    op.drop_table("entry_file")
    op.drop_table("stored_object")
    op.drop_index("ix_entry_version_listing", table_name="entry_version")
    op.drop_table("entry_version")
    op.drop_table("accession_counter")
