"""Files that are pulled from a submitter's own S3; a job may be about no entry."""

from __future__ import annotations

import re

import sqlalchemy as sa
from alembic import op

from readvault.db.tables.keys import KEY

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_ENTRY = ("accession", "version")
_OPEN = sa.text("ended_at IS NULL")


def upgrade() -> None:
    """Create the tables; let a job have no entry."""
    op.create_table(
        "pull",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("asked_by", sa.String(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("endpoint", sa.String(), nullable=True),
        sa.Column("region", sa.String(), nullable=True),
        sa.Column("bucket", sa.String(), nullable=True),
        sa.Column("prefix", KEY, nullable=True),
        sa.Column("category", sa.String(), nullable=True),
        sa.Column("listed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=True),
        sa.Column("challenge_name", sa.String(), nullable=True),
        sa.Column("challenge_content", sa.String(), nullable=True),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["group_id"], ["submitting_group.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("job_id"),
    )
    op.create_index("ix_pull_group", "pull", ["group_id", "asked_at", "id"])
    op.create_index("ix_pull_open", "pull", ["expires_at"], sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.create_table(
        "pull_source",
        sa.Column("pull_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("place", KEY, nullable=False),
        sa.Column("secret", sa.Text(), nullable=True),
        sa.Column("category", sa.String(), nullable=True),
        sa.Column("expected_size", sa.BigInteger(), nullable=True),
        sa.Column("expected_sha256", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("refusal", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("etag", sa.String(), nullable=True),
        sa.Column("version_id", sa.String(), nullable=True),
        sa.Column("bytes_done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sha256", sa.String(), nullable=True),
        sa.Column("file_id", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["pull_id"], ["pull.id"]),
        sa.PrimaryKeyConstraint("pull_id", "number"),
    )
    op.create_index("ix_pull_source_file", "pull_source", ["file_id"])
    _let_entries_of_jobs(be_absent=True)


def downgrade() -> None:
    """Drop the tables and the jobs about no entry."""
    op.drop_table("pull_source")
    op.drop_table("pull")
    op.execute("DELETE FROM job WHERE accession IS NULL")
    _let_entries_of_jobs(be_absent=False)


def _let_entries_of_jobs(*, be_absent: bool) -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        for column in _ENTRY:
            op.execute(f"ALTER TABLE job ALTER COLUMN {column} {'DROP' if be_absent else 'SET'} NOT NULL")
        return
    # SQLite can't change a column: the table is written anew, word for word but for that, and so are its indexes.
    found = connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE tbl_name = 'job'")).all()
    made: dict[str, str] = {name: sql or "" for name, sql in found}
    table = re.sub(r'^CREATE TABLE "?job"?', "CREATE TABLE job_anew", made.pop("job"))
    for column in _ENTRY:
        null = rf"(\b{column} (?:VARCHAR|INTEGER))( NOT NULL)?"
        table, changed = re.subn(null, r"\1" if be_absent else r"\1 NOT NULL", table, count=1)
        assert changed == 1, column
    for statement in (
        table,
        "INSERT INTO job_anew SELECT * FROM job",
        "DROP TABLE job",
        "ALTER TABLE job_anew RENAME TO job",
        *filter(None, made.values()),
    ):
        connection.exec_driver_sql(statement)
