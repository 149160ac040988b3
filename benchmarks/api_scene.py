"""A database as it is after years of surveillance: many released entries and a few open ones, made in bulk by SQL.

Everything that the API reads of an entry is there, with short sequences; no file lies in any store.
"""

# ruff: noqa: S608 - all that enters these statements is the benchmark's own
from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel import Session

from readvault.db import clock
from readvault.db.engine import Sessions
from readvault.db.tables import Group, GroupMember

GROUPS = 20
OPEN_PROCESSED = 0.5
"""The share of open entries that can be approved."""
_BASES = "ACGTTGCAAC" * 20
_METADATA = '{"date": "2024-01-01", "country": "Switzerland", "platform": "ILLUMINA"}'


@dataclass(frozen=True, slots=True)
class Scene:
    """How many entries there are. Each of the groups has as many as the others.

    Of the open ones a quarter is processed without issues, a quarter with warnings, a quarter with
    errors, and the rest has just been received.
    """

    organism: str
    released: int
    open: int
    member: str = "alice"
    """Is in the first group."""
    member_of_several: str = "bob"
    """Is in the first three."""


def fill(sessions: Sessions, scene: Scene) -> None:
    """Put the scene into a migrated database that has no entries yet."""
    with sessions.begin() as session:
        now = clock.read(session)
        _groups(session, scene, now)
        dialect = sessions.dialect
        for statement in _statements(scene, now, dialect):
            session.execute(text(statement.replace(":", "\\:")))
    if sessions.dialect == "postgresql":  # which would do so by itself a minute later; SQLite never does
        with sessions.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


def _groups(session: Session, scene: Scene, now: float) -> None:
    for number in range(1, GROUPS + 1):
        address = {"line1": "1 Way", "city": "Basel", "country": "Switzerland"}
        session.add(
            Group(id=number, name=f"Group {number}", institution="I", address=address, contact_email="a@example.org",
                  created_at=now)
        )  # fmt: skip
    session.flush()
    session.add(GroupMember(group_id=1, user_name=scene.member))
    session.add_all(GroupMember(group_id=number, user_name=scene.member_of_several) for number in (1, 2, 3))


def _statements(scene: Scene, now: float, dialect: str) -> list[str]:
    def json(value: str) -> str:
        return f"'{value}'" if dialect == "sqlite" else f"'{value}'::json"

    total = scene.released + scene.open
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {total}) "
    name = "'LOC_' || (1000000 + i)"
    is_open = f"i > {scene.released}"
    group = f"(1 + i % {GROUPS})"
    # Four open entries in a row belong to four groups; dividing by the groups first gives each group some of each.
    quarter = f"((i / {GROUPS}) % 4)"
    result = (
        f"CASE WHEN NOT {is_open} OR {quarter} = 0 THEN 'NO_ISSUES' WHEN {quarter} = 1 THEN 'HAS_WARNINGS'"
        " ELSE 'HAS_ERRORS' END"
    )
    has_manifest = f"(NOT {is_open} OR {quarter} < 3)"
    body = (
        f"""'{{"accession":"' || {name} || '","consensusSource":"reads","files":[{{"category":"consensus","name":"""
        f""""consensus.fasta","sha256":"{"a" * 64}","size":200}}],"metadata":{_METADATA},"""
        f""""organism":"{scene.organism}","""
        f""""pipelineVersion":1,"privateSha256":"{"b" * 64}","processingResult":"NO_ISSUES","provenance":{{}},"""
        """"schema":2,"screened":true,"sequences":{},"version":1}'"""
    )
    processed = (
        f'{{"metadata": {_METADATA}, "unalignedNucleotideSequences": {{"main": "{_BASES}"}},'
        f' "alignedNucleotideSequences": {{"main": "{_BASES}"}}, "nucleotideInsertions": {{"main": []}},'
        ' "alignedAminoAcidSequences": {}, "aminoAcidInsertions": {}}'
    )
    statements = [
        "INSERT INTO entry_version (accession, version, organism, group_id, submission_id, submitter, submitted_at,"
        " batch_id, released, is_revocation, terms_type, submitted_metadata, submitted_sequences)"
        f" SELECT {name}, 1, '{scene.organism}', {group}, 'sample ' || i, 'alice', {now}, 'batch ' || (i / 96),"
        f" NOT ({is_open}), false, 'OPEN', {json(_METADATA)}, {json('{}')} FROM n",
        "INSERT INTO data_use_terms (accession, terms_type, user_name, changed_at)"
        f" SELECT {name}, 'OPEN', 'alice', {now} FROM n",
        "INSERT INTO job (id, kind, organism, accession, version, pipeline_version, state, created_at, not_before,"
        " finished_at, attempt, failures, handbacks, runs_alone, deliveries)"
        f" SELECT 'job ' || i, 'process-submission', '{scene.organism}', {name}, 1, 1,"
        f" CASE WHEN {has_manifest} THEN 'done' ELSE 'queued' END, {now}, {now}, {now}, 1, 0, 0, false, 1 FROM n",
        "INSERT INTO manifest (id, accession, version, pipeline_version, digest, body, processing_result, errors,"
        " warnings, processed_data, created_at)"
        f" SELECT i, {name}, 1, 1, 'digest ' || i, {body}, {result}, {json('[]')}, {json('[]')}, {json(processed)},"
        f" {now} FROM n WHERE {has_manifest}",
        "INSERT INTO stored_object (id, group_id, sha256, size, key, version_id, stored_at)"
        f" SELECT i, {group}, 'sha256 ' || i, 200, 'vault/' || i, 'v', {now} FROM n WHERE {has_manifest}",
        "INSERT INTO manifest_file (manifest_id, category, name, file_id, stored_object_id, may_be_public)"
        f" SELECT i, 'consensus', 'consensus.fasta', 'file ' || i, i, true FROM n WHERE {has_manifest}",
        "INSERT INTO release (accession, version, manifest_id, released_at, approver, digest_was_given)"
        f" SELECT {name}, 1, i, {now}, 'alice', true FROM n WHERE NOT ({is_open})",
    ]
    counted = [
        "INSERT INTO released_count (organism, group_id, entries) SELECT organism, group_id, count(*)"
        " FROM entry_version WHERE released GROUP BY organism, group_id",
        "INSERT INTO organism_state (organism, released_revision, released_changed_at)"
        f" VALUES ('{scene.organism}', 1, {now})",
    ]
    return [_with_numbers(statement, numbers) for statement in statements] + counted


def _with_numbers(statement: str, numbers: str) -> str:
    """The numbers stand before the SELECT, where both databases take them."""
    into, _, rest = statement.partition(" SELECT ")
    return f"{into} {numbers}SELECT {rest}"
