"""What is released never changes, whoever runs the SQL: triggers for SQLite and PostgreSQL, from one table of rules.

INSERT OR REPLACE deletes the old row, which fires delete triggers on SQLite only with
`recursive_triggers` (`readvault.db.engine` sets it on every connection).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import JSON, Connection, text
from sqlmodel import SQLModel

from readvault.db.tables import (
    AuditEntry,
    CurrentResult,
    DataUseTerms,
    DeletedEntryVersion,
    EntryFile,
    EntryVersion,
    ErasedObject,
    ErasedVersion,
    Erasure,
    FileAccess,
    Intervention,
    Manifest,
    ManifestFile,
    OriginalOpening,
    ReferencedFile,
    Release,
    Repair,
    Screening,
    StoredObject,
    SubmittedDataArchive,
    UploadedFile,
    Withholding,
)

PREFIX = "readvault_keeps_"


@dataclass(frozen=True, slots=True)
class Rule:
    """Refuse `verb` on rows of `table` for which `condition` (SQL over OLD and NEW) holds."""

    table: str
    verb: str
    condition: str
    message: str

    @property
    def name(self) -> str:
        """The trigger's name; it changes with the rule, so that an outdated trigger is seen."""
        digest = hashlib.sha256(f"{self.condition}|{self.message}".encode()).hexdigest()[:8]
        return f"{PREFIX}{self.table}_{self.verb.lower()}_{digest}"


def _name(table: type[SQLModel]) -> str:
    return str(table.__tablename__)


def _changed(table: type[SQLModel], *columns: str) -> str:
    """True when one of the columns gets another value."""
    # PostgreSQL's json has no equality.
    types = SQLModel.metadata.tables[_name(table)].columns
    pairs = (
        (f"CAST(OLD.{c} AS TEXT)", f"CAST(NEW.{c} AS TEXT)")
        if isinstance(types[c].type, JSON)
        else (f"OLD.{c}", f"NEW.{c}")
        for c in columns
    )
    return "(" + " OR ".join(f"{old} IS DISTINCT FROM {new}" for old, new in pairs) + ")"


def _once_set(table: type[SQLModel], column: str) -> str:
    return f"(OLD.{column} IS NOT NULL AND {_changed(table, column)})"


def _all_but(table: type[SQLModel], *columns: str) -> tuple[str, ...]:
    return tuple(c.name for c in SQLModel.metadata.tables[_name(table)].columns if c.name not in columns)


def _released(row: str) -> str:
    return f"EXISTS (SELECT 1 FROM release r WHERE r.accession = {row}.accession AND r.version = {row}.version)"  # noqa: S608 - no input


def _manifest_released(reference: str) -> str:
    """True for the manifest that was approved and for those that were published since."""
    return (
        f"(EXISTS (SELECT 1 FROM release r WHERE r.manifest_id = {reference})"  # noqa: S608 - no input
        f" OR EXISTS (SELECT 1 FROM current_result c WHERE c.manifest_id = {reference}))"
    )


_IN_RELEASED_MANIFEST = (
    "EXISTS (SELECT 1 FROM manifest_file f WHERE f.stored_object_id = OLD.id"  # noqa: S608 - no input
    f" AND {_manifest_released('f.manifest_id')})"
)
_UNMARKED = (
    "NOT EXISTS (SELECT 1 FROM entry_version e"
    " WHERE e.accession = NEW.accession AND e.version = NEW.version AND e.released)"
)
_NOT_REPAIRED = (
    "NOT EXISTS (SELECT 1 FROM repair p WHERE p.key = OLD.key AND p.size = OLD.size"
    " AND p.version_id IS NOT DISTINCT FROM NEW.version_id AND p.lost_version_id IS NOT DISTINCT FROM OLD.version_id"
    " AND (OLD.sha256 IS NULL OR p.sha256 = OLD.sha256))"
)
_NO_TOMBSTONE = (
    "NOT EXISTS (SELECT 1 FROM erased_version v WHERE v.accession = OLD.accession AND v.version = OLD.version)"
)


def _erased(row: str) -> str:
    return (
        f"EXISTS (SELECT 1 FROM erased_object x WHERE x.key = {row}.key AND x.place = 'bucket'"  # noqa: S608 - no input
        f" AND x.version_id = COALESCE({row}.version_id, ''))"
    )


_IN_AN_ENTRY = "EXISTS (SELECT 1 FROM entry_file f WHERE f.file_id = OLD.id)"
ONLY_GROWING: dict[type[SQLModel], str] = {
    AuditEntry: "the audit log only grows",
    FileAccess: "the trail of reads only grows",
    Intervention: "an intervention never changes",
    CurrentResult: "which results were published never changes",
    DataUseTerms: "the history of data use terms only grows",
    DeletedEntryVersion: "a deleted name is never used again",
    Repair: "a repair never changes",
    ErasedVersion: "a tombstone stays",
    Screening: "what a screening found never changes",
    Withholding: "when reads were withheld never changes",
    OriginalOpening: "who opened originals never changes",
}


def rules() -> Iterator[Rule]:
    """What is refused."""
    for verb in ("UPDATE", "DELETE"):
        yield Rule(_name(Release), verb, "1 = 1", "a release never changes")
        for table, message in ONLY_GROWING.items():
            yield Rule(_name(table), verb, "1 = 1", message)
        yield Rule(_name(EntryVersion), verb, _released("OLD"), "a released entry version never changes")
        yield Rule(_name(EntryFile), verb, _released("OLD"), "the files of a released entry version never change")
    yield from _erasures()
    yield Rule(_name(Release), "INSERT", _UNMARKED, "a release needs an entry version that is marked as released")
    yield Rule(_name(EntryFile), "INSERT", _released("NEW"), "a released entry version gets no more files")

    only_superseded = _changed(Manifest, *_all_but(Manifest, "superseded_at"))
    # Of a version that was shredded the private document may go; its digest stays in the public one.
    blanked = (
        f"(NEW.private_body IS NULL AND NOT {_changed(Manifest, *_all_but(Manifest, 'private_body'))}"
        f" AND NOT {_NO_TOMBSTONE})"
    )
    yield Rule(
        _name(Manifest), "UPDATE", f"({only_superseded} OR {_once_set(Manifest, 'superseded_at')}) AND NOT {blanked}",
        "a manifest never changes, it is only superseded once",
    )  # fmt: skip
    yield Rule(
        _name(Manifest), "UPDATE", f"{_manifest_released('OLD.id')} AND NOT {blanked}",
        "a released manifest is never superseded",
    )  # fmt: skip
    yield Rule(_name(Manifest), "DELETE", _released("OLD"), "manifests of a released version stay")
    yield Rule(_name(ManifestFile), "UPDATE", "1 = 1", "the files of a manifest never change")
    yield Rule(
        _name(ManifestFile), "DELETE",
        "EXISTS (SELECT 1 FROM manifest m JOIN release r ON r.accession = m.accession AND r.version = m.version"
        " WHERE m.id = OLD.manifest_id)",
        "files of a released version stay",
    )  # fmt: skip
    yield Rule(
        _name(ManifestFile), "INSERT", _manifest_released("NEW.manifest_id"), "a released manifest gets no more files"
    )
    # A lost version may be repaired under a new version ID, and shredded bytes may come again as new ones;
    # what the bytes are never changes.
    unrepaired = f"({_changed(StoredObject, 'key')} OR ({_changed(StoredObject, 'version_id')} AND {_NOT_REPAIRED}))"
    same = _changed(StoredObject, "id", "group_id", "sha256", "size")
    moved = f"({unrepaired} AND NOT ({_erased('OLD')} AND NOT {_erased('NEW')}))"
    yield Rule(_name(StoredObject), "UPDATE", f"{same} OR {moved}", "a stored object never changes")
    yield Rule(_name(StoredObject), "DELETE", _IN_RELEASED_MANIFEST, "a released object stays")

    pinned = ("sealed_at", "size", "sha256")
    sealed = " OR ".join(_once_set(UploadedFile, column) for column in pinned)
    moved = f"({_changed(UploadedFile, 'version_id')} AND {_NOT_REPAIRED})"
    identity = f"(OLD.sealed_at IS NOT NULL AND ({_changed(UploadedFile, 'id', 'group_id', 'key', 'size')} OR {moved}))"
    yield Rule(_name(UploadedFile), "UPDATE", f"{sealed} OR {identity}", "a sealed file never changes")
    yield Rule(_name(UploadedFile), "DELETE", _IN_AN_ENTRY, "a file of an entry stays")
    elsewhere = _changed(ReferencedFile, *_all_but(ReferencedFile, "secret"))
    yield Rule(_name(ReferencedFile), "UPDATE", elsewhere, "where a referenced file lies never changes")


def _erasures() -> Iterator[Rule]:
    wish = ("id", "accession_versions", "scope", "reason", "code", "objects", "size", "requested_by", "requested_at")
    said = " OR ".join(_once_set(Erasure, column) for column in ("confirmed_by", "confirmed_at"))
    finished = f"OLD.finished_at IS NOT NULL OR {_changed(Erasure, *wish)} OR {said}"
    yield Rule(_name(Erasure), "UPDATE", finished, "an erasure that is finished never changes")
    yield Rule(_name(Erasure), "DELETE", "1 = 1", "an erasure stays")
    gone = f"{_changed(ErasedObject, *_all_but(ErasedObject, 'deleted_at'))} OR {_once_set(ErasedObject, 'deleted_at')}"
    yield Rule(_name(ErasedObject), "UPDATE", gone, "what was shredded stays so")
    yield Rule(_name(ErasedObject), "DELETE", "1 = 1", "what was shredded stays so")
    kept = "what was submitted before an edit never changes"
    yield Rule(_name(SubmittedDataArchive), "UPDATE", "1 = 1", kept)
    yield Rule(_name(SubmittedDataArchive), "DELETE", _NO_TOMBSTONE, kept)


def truncate_rules() -> list[Rule]:
    """Tables that can't be emptied at once (PostgreSQL)."""
    tables = sorted({rule.table for rule in rules()})
    return [Rule(table, "TRUNCATE", "1 = 1", f"{table} is never emptied") for table in tables]


def install(connection: Connection) -> None:
    """Make the triggers what the rules say: outdated ones go, missing ones come."""
    wanted = {rule.name: rule for rule in _wanted(connection)}
    present = _installed(connection)
    for name, table in present.items():
        if name not in wanted:
            _drop(connection, name, table)
    for name, rule in wanted.items():
        if name not in present:
            _create(connection, rule)


def missing(connection: Connection) -> list[str]:
    """The names of triggers that should be there and are not."""
    present = _installed(connection)
    return sorted(rule.name for rule in _wanted(connection) if rule.name not in present)


def lift(connection: Connection) -> None:
    """Drop all triggers, for a migration that has to fill new columns; `install` brings them back after it."""
    for name, table in _installed(connection).items():
        _drop(connection, name, table)


def _wanted(connection: Connection) -> list[Rule]:
    everywhere = list(rules())
    return everywhere if connection.dialect.name == "sqlite" else everywhere + truncate_rules()


def _installed(connection: Connection) -> dict[str, str]:
    if connection.dialect.name == "sqlite":
        query = "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, :n) = :prefix"
    else:
        query = (
            "SELECT t.tgname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND left(t.tgname, :n) = :prefix"
            " AND c.relnamespace = current_schema()::regnamespace"
        )
    rows = connection.execute(text(query), {"n": len(PREFIX), "prefix": PREFIX})
    return {str(row[0]): str(row[1]) for row in rows}


def _drop(connection: Connection, name: str, table: str) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
    else:
        connection.exec_driver_sql(f'DROP TRIGGER "{name}" ON "{table}"')
        connection.exec_driver_sql(f'DROP FUNCTION IF EXISTS "{name}"()')


def _create(connection: Connection, rule: Rule) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(
            f'CREATE TRIGGER "{rule.name}" BEFORE {rule.verb} ON "{rule.table}" WHEN {rule.condition}'
            f" BEGIN SELECT RAISE(ABORT, '{rule.message}'); END"
        )
        return
    kept = {"TRUNCATE": "NULL", "DELETE": "OLD"}.get(rule.verb, "NEW")
    each = "STATEMENT" if rule.verb == "TRUNCATE" else "ROW"
    connection.exec_driver_sql(
        f'CREATE OR REPLACE FUNCTION "{rule.name}"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN'
        f" IF {rule.condition} THEN RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation',"
        f" MESSAGE = '{rule.message}'; END IF; RETURN {kept}; END $$"
    )
    connection.exec_driver_sql(
        f'CREATE TRIGGER "{rule.name}" BEFORE {rule.verb} ON "{rule.table}"'
        f' FOR EACH {each} EXECUTE FUNCTION "{rule.name}"()'
    )
