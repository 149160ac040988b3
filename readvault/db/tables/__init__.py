"""The tables. Times are seconds since 1970 by the database's own clock (`db.clock`).

What is released never changes: triggers (`db.immutability`) refuse UPDATE and DELETE on `release`,
on the manifests, files and entry versions that are released, and on the audit log. What may change
later (terms, suppression) lives in tables of its own.
"""

from readvault.db.tables.damage import Bookmark, FixityCheck, Repair, SecondCopy
from readvault.db.tables.drops import DropLink, DroppedFile
from readvault.db.tables.entries import (
    AccessionCounter,
    DataUseTerms,
    DeletedEntryVersion,
    EntryFile,
    EntryVersion,
    SubmittedDataArchive,
)
from readvault.db.tables.erasure import ErasedObject, ErasedVersion, Erasure
from readvault.db.tables.exports import SiloExport, SiloExportFile, SiloExportMember, SiloPart
from readvault.db.tables.garbage import CondemnedVersion, PartialFile
from readvault.db.tables.people import Group, GroupMember, MachineToken, UserAccount
from readvault.db.tables.processing import Job, Manifest, ManifestFile, PartialResult, SentBack, StoredObject
from readvault.db.tables.pulls import Pull, PullSource, ReferencedFile
from readvault.db.tables.records import PendingRecord
from readvault.db.tables.release import (
    CurrentResult,
    ExternalMetadata,
    Intervention,
    OrganismState,
    Release,
    ReleasedCount,
)
from readvault.db.tables.reprocessing import ComparedResult, Reprocessing
from readvault.db.tables.screening import OriginalOpening, Screening, Withholding
from readvault.db.tables.trail import AuditEntry, FileAccess, IdempotentRequest
from readvault.db.tables.uploads import LimitOverride, UploadedFile, UploadUsage

__all__ = [
    "AccessionCounter",
    "AuditEntry",
    "Bookmark",
    "ComparedResult",
    "CondemnedVersion",
    "CurrentResult",
    "DataUseTerms",
    "DeletedEntryVersion",
    "DropLink",
    "DroppedFile",
    "EntryFile",
    "EntryVersion",
    "ErasedObject",
    "ErasedVersion",
    "Erasure",
    "ExternalMetadata",
    "FileAccess",
    "FixityCheck",
    "Group",
    "GroupMember",
    "IdempotentRequest",
    "Intervention",
    "Job",
    "LimitOverride",
    "MachineToken",
    "Manifest",
    "ManifestFile",
    "OrganismState",
    "OriginalOpening",
    "PartialFile",
    "PartialResult",
    "PendingRecord",
    "Pull",
    "PullSource",
    "ReferencedFile",
    "Release",
    "ReleasedCount",
    "Repair",
    "Reprocessing",
    "Screening",
    "SecondCopy",
    "SentBack",
    "SiloExport",
    "SiloExportFile",
    "SiloExportMember",
    "SiloPart",
    "StoredObject",
    "SubmittedDataArchive",
    "UploadUsage",
    "UploadedFile",
    "UserAccount",
    "Withholding",
]
