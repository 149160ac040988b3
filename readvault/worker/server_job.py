"""A job of the database: originals from S3, outputs to S3, one registered version.

Storage is opened twice, at `fetch` and at `stage`; the database at `fetch` and at `register`, each
time behind the job's fence. In between, everything happens on local files in the job's own
scratch directory, by the hands of the nursery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import Any

from readvault.db.faults import patiently
from readvault.domain import manifest
from readvault.domain.annotations import Annotation, Field, FieldType, Reason
from readvault.domain.errors import BytesLost, InvalidSubmission, ReferenceAway
from readvault.domain.organism import SampleType
from readvault.domain.reads import LibraryLayout, Platform
from readvault.domain.referenced import is_referenced
from readvault.domain.reports import FetchReport, RegisterReport, StageReport
from readvault.domain.status import ProcessingResult
from readvault.failpoints import failpoint
from readvault.pipeline import Hands
from readvault.reads.local_result import LocalResult
from readvault.reads.sample import Declared, InputFile, Sample
from readvault.services.house import House
from readvault.services.processing import chain, jobs, neighbours
from readvault.services.processing.jobs import Claim, ProcessedVersion, SealedFile, StagedFile
from readvault.services.queue.fence import held, is_last_try
from readvault.services.queue.lease import Lease
from readvault.services.storage.garbage import collection
from readvault.services.storage.integrity import making_again, repair
from readvault.worker.held_job import HeldJob

SCRATCH_FACTOR = 4
"""How many times the size of its originals a job needs on the scratch disk."""


class ServerJob(HeldJob):
    """One claimed accession version, from its sealed originals to its registered manifest."""

    def __init__(
        self,
        house: House,
        claim: Claim,
        lease: Lease,
        directory: Path,
        child: Callable[[Sample], AbstractContextManager[Hands]],
    ) -> None:
        super().__init__(house, claim, lease, directory, child)
        self._inputs = jobs.inputs_of(house, claim)
        self._hashes: dict[str, str] = {}
        self._staged: tuple[StagedFile, ...] = ()
        categories = self._organism.submission.files
        self._may_hold_reads = [
            file.category not in categories or categories[file.category].may_contain_reads
            for file in self._inputs.files
        ]
        self.has_reads = any(self._may_hold_reads)

    def fetch(self) -> FetchReport:
        """Download the sealed originals and compute their SHA-256 on the way.

        Raises InvalidSubmission when a file does not have the hash that was declared for it, or stays in a
        bucket of its group and is not there any more, or not to be reached at the last try either; BytesLost
        when one of ours is gone or not what was sealed: that is noted as damage.
        """
        files = self._inputs.files
        total = sum(file.stored.size for file in files)
        self._make_sure_of_room("fetch", SCRATCH_FACTOR, total)
        originals = self._directory / "originals"
        originals.mkdir(exist_ok=True)
        wrong = []
        for number, file in enumerate(files):
            target = originals / f"{number:04}"
            try:
                self._hashes[file.file_id] = self._fetched(
                    file.stored, file.sha256, target, "fetch", declared=file.declared_sha256
                )
            except BytesLost:
                if not is_referenced(file.stored.key):
                    raise
                wrong.append(_lost_reference(file, "can't be read there, or has other bytes than it had"))
            except ReferenceAway:
                if not self._waits_no_more():
                    raise
                wrong.append(_lost_reference(file, "could not be reached there, though that was tried several times"))
            self._lease.check()
        if wrong:
            raise InvalidSubmission(wrong)
        wrong = [_wrong_hash(file) for file in files if file.declared_sha256 not in (None, self._hashes[file.file_id])]
        self._patiently(lambda: jobs.record_hashes(self._house, self._claim, self._hashes))
        repair.with_new_bytes(self._house, self._claim.group_id, set(self._hashes.values()))
        if wrong:
            raise InvalidSubmission(wrong)
        return FetchReport(files=len(files), bytes=total)

    def _waits_no_more(self) -> bool:
        """Whether a group's store was asked for the last time. Where an order asks, a maintainer decides."""
        with self._house.sessions.begin() as session:
            in_order = held(session, self._claim).reprocessing_id is not None
            return not in_order and is_last_try(session, self._claim, self._house.settings.worker)

    def hands(self) -> AbstractContextManager[Hands]:
        """A child of the nursery that does the local steps."""
        work = self._directory / "work"
        work.mkdir()
        inputs = tuple(
            InputFile(self._directory / "originals" / f"{number:04}", file.label, file.category)
            for number, file in enumerate(self._inputs.files)
            if self._may_hold_reads[number]
        )
        metadata = self._inputs.metadata
        return self._child(
            work,
            inputs,
            platform=_declared(Platform, metadata, "platform"),
            declared=Declared(
                layout=_declared(LibraryLayout, metadata, "libraryLayout"),
                primer_scheme=metadata.get("primerScheme") or None,
                library_strategy=metadata.get("libraryStrategy") or None,
                sample_type=_declared(SampleType, metadata, "sampleType"),
            ),
            submitted=self._inputs.sequences or None,
        )

    def stage(self, result: LocalResult) -> StageReport:
        """Put the outputs into the vault, each once per group and content, and put back what it has lost of them."""
        staged, already = [], 0
        for output, path in result.outputs:
            self._lease.check()
            key = f"vault/{self._claim.group_id}/{output.sha256}"
            # Before anything is looked up: what is found after this stays long enough to be registered.
            collection.keep_or_finish(self._house, self._claim.group_id, output.sha256, key)
            making_again.put_back_made(self._house, self._claim.group_id, [(output.sha256, path)])
            stored = jobs.stored(self._house, self._claim, output.sha256)
            if stored is None:
                stored = self._house.store.store(path, key, sha256=output.sha256)
            else:
                already += 1
            staged.append(StagedFile(output.category, output.name, output.size, output.sha256, stored))
            failpoint("stage-between-files")
        self._staged = tuple(staged)
        return StageReport(files=len(staged), bytes=sum(file.size for file in staged), already_there=already)

    def register(self, result: LocalResult | None, refusals: Iterable[Annotation]) -> RegisterReport:
        """Store the manifest in S3, then register the version, all or nothing; its record follows (`db.records`)."""
        errors = tuple(refusals) + (result.errors if result else ())
        errors = neighbours.with_swap_named(self._house, self._claim, result.called_sequences if result else {}, errors)
        warnings = self._sent_twice() + (result.warnings if result else ())
        body = self._manifest(result, errors, warnings)
        content = manifest.canonical(body)
        digest = manifest.digest(content)
        place = f"{self._claim.accession_version.accession}/{self._claim.accession_version.version}"
        self._store_text(f"manifests/{place}/{digest}.json", content, digest)
        hidden = manifest.private(body)
        self._store_text(f"manifests/{place}/{digest}.private.json", hidden, manifest.digest(hidden))
        failpoint("register-before-commit")
        version = ProcessedVersion(
            manifest=body,
            errors=errors,
            warnings=warnings,
            processed_data=_processed_data(body["metadata"], result),
            files=self._staged,
        )
        end = chain.hand_on if chain.continues(self._organism, version) else jobs.register
        registered = self._patiently(lambda: end(self._house, self._claim, version))
        failpoint("register-after-commit")
        return RegisterReport(
            accession_version=self.name,
            processing_result=body["processingResult"],
            manifest_digest=registered,
            organism=self._organism.name,
        )

    def _sent_twice(self) -> tuple[Annotation, ...]:
        labels = {file.file_id: file.label for file in self._inputs.files}
        hashes = {file_id: (labels[file_id], sha256) for file_id, sha256 in self._hashes.items()}
        return neighbours.same_files(self._house, self._claim, hashes)

    def _manifest(
        self, result: LocalResult | None, errors: tuple[Annotation, ...], warnings: tuple[Annotation, ...]
    ) -> dict[str, Any]:
        return manifest.build(
            self._claim.accession_version,
            organism=self._organism.name,
            pipeline_version=self._claim.pipeline_version,
            metadata=_merged(self._inputs.metadata, result.check.processed_metadata if result else {}),
            sequences=result.sequences if result else {},
            consensus_source=result.consensus_source if result else None,
            files=[(f.category, f.name, f.size, f.sha256) for f in self._staged],
            processing_result=ProcessingResult.of(errors=bool(errors), warnings=bool(warnings)),
            errors=errors,
            warnings=warnings,
            screened=bool(result and result.screened),
            provenance={
                **(result.provenance if result else {}),
                "inputs": [
                    {
                        "category": f.category,
                        "size": f.stored.size,
                        "sha256": self._hashes.get(f.file_id, f.sha256 or f.declared_sha256),
                        **({"storage": "group"} if is_referenced(f.stored.key) else {}),
                    }
                    for f in self._inputs.files
                ],
            },
        )

    def _patiently[T](self, write: Callable[[], T]) -> T:
        """A fenced write, again and again while the database restarts: hours of work may wait for it."""
        return patiently(write, seconds=self._house.settings.worker.lease)

    def _store_text(self, key: str, content: bytes, sha256: str) -> None:
        path = self._directory / sha256
        path.write_bytes(content)
        self._house.store.store(path, key, sha256=sha256)
        failpoint("register-document-written")


def _lost_reference(file: SealedFile, fault: str) -> Annotation:
    return Annotation(
        Reason.REFERENCE_LOST,
        f"This file stays in a bucket of your group, and {fault}. Put it back or renew the credentials, or upload it;"
        " then edit or revise the entry.",
        fields=(Field(FieldType.FILE, file.category),),
        file=file.label,
    )


def _wrong_hash(file: SealedFile) -> Annotation:
    return Annotation(
        Reason.WRONG_HASH,
        "The uploaded bytes do not have the SHA-256 that was declared for this file. Please upload it again.",
        fields=(Field(FieldType.FILE, file.category),),
        file=file.label,
    )


def _declared[E: StrEnum](kind: type[E], metadata: dict[str, str], column: str) -> E | None:
    """The value of a column, whatever its letter case; None where it says nothing that we know."""
    said = metadata.get(column, "").strip().casefold()
    return next((each for each in kind if each.value.casefold() == said), None)


def _merged(submitted: dict[str, str], found: dict[str, Any]) -> dict[str, Any]:
    """What was found, and where nothing was found what was submitted: without reads the platform is the submitter's."""
    return {**submitted, **{name: value for name, value in found.items() if value is not None or name not in submitted}}


def _processed_data(metadata: dict[str, Any], result: LocalResult | None) -> dict[str, Any]:
    """Loculus's ProcessedData, without the files."""
    segments: dict[str, str] = result.sequences if result else {}
    aligned = result.aligned_sequences if result else {}
    insertions = result.insertions if result else {}
    return {
        "metadata": metadata,
        "unalignedNucleotideSequences": segments,
        "alignedNucleotideSequences": {name: aligned.get(name) for name in segments},
        "nucleotideInsertions": {name: insertions.get(name, []) for name in segments},
        "alignedAminoAcidSequences": result.aligned_amino_acid_sequences if result else {},
        "aminoAcidInsertions": result.amino_acid_insertions if result else {},
    }
