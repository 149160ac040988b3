"""What the whole protocol needs: revisions, terms, chains of pipelines, interventions, tokens, a trail of reads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from readvault.db import immutability

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and fill those that follow from what is there."""
    _people_and_limits()
    _entries()
    _release()
    _columns()
    _find_open_uploads_by("expires_at")
    # What is released can't be changed, not even by us; the rules are emitted anew when all migrations have run.
    immutability.lift(op.get_bind())
    for statement in _FROM_WHAT_IS_THERE:
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    immutability.lift(op.get_bind())
    _find_open_uploads_by()
    op.drop_index("ix_uploaded_file_user_window", table_name="uploaded_file")
    op.drop_column("uploaded_file", "part_hashes")
    for name in ("ix_job_external", "ix_job_external_claimable", "uq_job_external_open"):
        op.drop_index(name, table_name="job")
    op.drop_column("manifest", "private_body")
    op.drop_column("manifest_file", "may_be_public")
    op.drop_index(
        "ix_entry_version_unreleased",
        table_name="entry_version",
        sqlite_where=sa.text("NOT released"),
        postgresql_where=sa.text("NOT released"),
    )
    op.drop_index("ix_entry_version_newest", table_name="entry_version")
    op.drop_index("ix_entry_version_batch", table_name="entry_version")
    op.drop_index("ix_entry_version_all", table_name="entry_version")
    op.drop_column("entry_version", "released")
    op.drop_column("entry_version", "batch_id")
    op.drop_table("sent_back")
    op.drop_index("ix_current_result_manifest_id", table_name="current_result")
    op.drop_index("ix_current_result_entry", table_name="current_result")
    op.drop_table("current_result")
    op.drop_table("partial_result")
    op.drop_index("ix_intervention_entry", table_name="intervention")
    op.drop_table("intervention")
    op.drop_table("external_metadata")
    op.drop_table("released_count")
    op.drop_index("ix_machine_token_user_name", table_name="machine_token")
    op.drop_table("machine_token")
    op.drop_index("ix_file_access_file", table_name="file_access")
    op.drop_table("file_access")
    op.drop_table("deleted_entry_version")
    op.drop_index("ix_submitted_data_archive_entry", table_name="submitted_data_archive")
    op.drop_table("submitted_data_archive")
    op.drop_table("organism_state")
    op.drop_table("limit_override")
    op.drop_index("ix_idempotent_request_at", table_name="idempotent_request")
    op.drop_table("idempotent_request")
    op.drop_index("ix_data_use_terms_accession", table_name="data_use_terms")
    op.drop_table("data_use_terms")


_FROM_WHAT_IS_THERE = (
    "UPDATE entry_version SET released = true WHERE EXISTS (SELECT 1 FROM release r"
    " WHERE r.accession = entry_version.accession AND r.version = entry_version.version)",
    "INSERT INTO released_count (organism, group_id, entries)"
    " SELECT organism, group_id, count(*) FROM entry_version WHERE released GROUP BY organism, group_id",
    "INSERT INTO organism_state (organism, released_revision, released_changed_at)"
    " SELECT e.organism, count(*), max(r.released_at) FROM release r JOIN entry_version e"
    " ON e.accession = r.accession AND e.version = r.version GROUP BY e.organism",
    "INSERT INTO data_use_terms (accession, terms_type, restricted_until, user_name, changed_at)"
    " SELECT accession, terms_type, restricted_until, submitter, submitted_at FROM entry_version WHERE version = 1"
    " ORDER BY accession",
)


def _people_and_limits() -> None:
    op.create_table(
        "machine_token",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("user_name", sa.String(), nullable=False),
        sa.Column("token_sha256", sa.String(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["submitting_group.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_sha256"),
    )
    op.create_index("ix_machine_token_user_name", "machine_token", ["user_name"], unique=False)
    op.create_table(
        "limit_override",
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("bytes_total", sa.BigInteger(), nullable=True),
        sa.Column("bytes_per_window", sa.BigInteger(), nullable=True),
        sa.Column("open_files", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("set_by", sa.String(), nullable=False),
        sa.Column("set_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("scope"),
    )
    op.create_table(
        "idempotent_request",
        sa.Column("user_name", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("user_name", "key"),
    )
    op.create_index("ix_idempotent_request_at", "idempotent_request", ["at"], unique=False)


def _entries() -> None:
    op.create_table(
        "data_use_terms",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("terms_type", sa.String(), nullable=False),
        sa.Column("restricted_until", sa.String(), nullable=True),
        sa.Column("user_name", sa.String(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_data_use_terms_accession", "data_use_terms", ["accession", "id"], unique=False)
    op.create_table(
        "submitted_data_archive",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("edited_by", sa.String(), nullable=False),
        sa.Column("edited_at", sa.Float(), nullable=False),
        sa.Column("submitted_metadata", sa.JSON(), nullable=False),
        sa.Column("submitted_sequences", sa.JSON(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_submitted_data_archive_entry", "submitted_data_archive", ["accession", "version"], unique=False)
    op.create_table(
        "deleted_entry_version",
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("organism", sa.String(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("deleted_by", sa.String(), nullable=False),
        sa.Column("deleted_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["submitting_group.id"],
        ),
        sa.PrimaryKeyConstraint("accession", "version"),
    )
    op.create_table(
        "partial_result",
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("pipeline_version", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("processed_data", sa.JSON(), nullable=False),
        sa.Column("errors", sa.JSON(), nullable=False),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["accession", "version"],
            ["entry_version.accession", "entry_version.version"],
        ),
        sa.PrimaryKeyConstraint("accession", "version", "pipeline_version", "source"),
    )
    op.create_table(
        "sent_back",
        sa.Column("manifest_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("sent_by", sa.String(), nullable=False),
        sa.Column("sent_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"],
            ["manifest.id"],
        ),
        sa.PrimaryKeyConstraint("manifest_id"),
    )


def _release() -> None:
    op.create_table(
        "organism_state",
        sa.Column("organism", sa.String(), nullable=False),
        sa.Column("released_revision", sa.BigInteger(), nullable=False),
        sa.Column("released_changed_at", sa.Float(), nullable=False),
        sa.Column("current_pipeline_version", sa.Integer(), nullable=True),
        sa.Column("processing_revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("organism"),
    )
    op.create_table(
        "released_count",
        sa.Column("organism", sa.String(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["submitting_group.id"],
        ),
        sa.PrimaryKeyConstraint("organism", "group_id"),
    )
    op.create_table(
        "current_result",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("manifest_id", sa.Integer(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["accession", "version"],
            ["entry_version.accession", "entry_version.version"],
        ),
        sa.ForeignKeyConstraint(
            ["manifest_id"],
            ["manifest.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_current_result_entry", "current_result", ["accession", "version", "id"], unique=False)
    op.create_index("ix_current_result_manifest_id", "current_result", ["manifest_id"], unique=False)
    op.create_table(
        "intervention",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["accession", "version"],
            ["entry_version.accession", "entry_version.version"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_intervention_entry", "intervention", ["accession", "version", "id"], unique=False)
    op.create_table(
        "external_metadata",
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updater", sa.String(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["accession", "version"],
            ["entry_version.accession", "entry_version.version"],
        ),
        sa.PrimaryKeyConstraint("accession", "version", "updater"),
    )
    op.create_table(
        "file_access",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("file_id", sa.String(), nullable=False),
        sa.Column("accession", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("audit_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["audit_id"],
            ["audit_log.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_file_access_file", "file_access", ["file_id", "id"], unique=False)


def _columns() -> None:
    op.add_column("entry_version", sa.Column("batch_id", sa.String(), nullable=True))
    op.add_column("entry_version", sa.Column("released", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index("ix_entry_version_all", "entry_version", ["organism", "accession", "version"], unique=False)
    op.create_index("ix_entry_version_batch", "entry_version", ["batch_id"], unique=False)
    op.create_index("ix_entry_version_newest", "entry_version", ["organism", "group_id", "submitted_at"], unique=False)
    op.create_index(
        "ix_entry_version_unreleased",
        "entry_version",
        ["organism", "group_id", "accession", "version"],
        unique=False,
        sqlite_where=sa.text("NOT released"),
        postgresql_where=sa.text("NOT released"),
    )
    op.add_column(
        "manifest_file", sa.Column("may_be_public", sa.Boolean(), server_default=sa.text("true"), nullable=False)
    )
    op.add_column("manifest", sa.Column("private_body", sa.Text(), nullable=True))
    op.add_column("uploaded_file", sa.Column("part_hashes", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("ix_uploaded_file_user_window", "uploaded_file", ["uploader", "requested_at"], unique=False)
    _of_external_jobs("ix_job_external", ["organism", "created_at"], "kind = 'external-processing'")
    still_open = "kind = 'external-processing' AND state <> 'done'"
    claimable = ["organism", "pipeline_version", "state", "accession", "version"]
    _of_external_jobs("ix_job_external_claimable", claimable, still_open)
    _of_external_jobs("uq_job_external_open", ["accession", "version", "pipeline_version"], still_open, unique=True)


def _of_external_jobs(name: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    where = sa.text(condition)
    op.create_index(name, "job", columns, unique=unique, sqlite_where=where, postgresql_where=where)


def _find_open_uploads_by(*columns: str) -> None:
    """Without a second column SQLite takes another index, and walks through all that was ever uploaded."""
    for name, owner in (("group", "group_id"), ("user", "uploader")):
        op.drop_index(f"ix_uploaded_file_open_of_{name}", table_name="uploaded_file")
        op.create_index(
            f"ix_uploaded_file_open_of_{name}",
            "uploaded_file",
            [owner, *columns],
            unique=False,
            sqlite_where=sa.text("sealed_at IS NULL"),
            postgresql_where=sa.text("sealed_at IS NULL"),
        )
