"""Are these reads, and all of them? Every fault of every file is found before anybody is told.

The order: what each file is, by its content; BAM, SAM and CRAM back to FASTQ; which files belong together; each
file checked record by record; mates against each other; names that occur twice. Only when all is
right, files are rewritten whose form other tools would read differently. The rest is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from pathlib import Path

from readvault.domain.annotations import Annotation, Reason, first_listed
from readvault.domain.errors import InvalidSubmission, ProcessingFailure
from readvault.domain.organism import FileCategory
from readvault.domain.reads import LibraryLayout, Platform
from readvault.domain.reports import ValidationReport
from readvault.reads.sample import InputFile, ReadFiles
from readvault.reads.validate.fastq_check import NameHashes, Profile, check
from readvault.reads.validate.fastq_duplicates import find_duplicates, repeated_files
from readvault.reads.validate.fastq_faults import find_faults
from readvault.reads.validate.fastq_lanes import Lane, Source, arrange, natural
from readvault.reads.validate.fastq_mates import mate_faults
from readvault.reads.validate.fastq_names import Lengths, detect_platform
from readvault.reads.validate.fastq_rewrite import is_padded, rewrite
from readvault.reads.validate.formats import Compression, Decompressed, UnreadableFileError
from readvault.reads.validate.intake import Door, Intake, take_in

STEP = "validate"
UNPACKED_PER_BYTE = 20
"""How many times its largest allowed size a file may hold, unpacked."""


@dataclass(slots=True)
class _Checked:
    """A lane whose files have been read; `profiles` and `hashes` have one entry a file."""

    lane: Lane
    profiles: list[Profile] = field(default_factory=list)
    hashes: list[NameHashes] = field(default_factory=list)
    faults: list[Annotation] = field(default_factory=list)


def validate(
    inputs: Sequence[InputFile],
    *,
    rules: FileCategory,
    platform: Platform | None,
    directory: Path,
    references: tuple[Path, ...] = (),
) -> tuple[ReadFiles, ValidationReport]:
    """Check submitted reads and hand them on as FASTQ files that every later tool reads alike.

    A file that is in order stays where it is; one with Zstandard, zeros after its gzip, CR LF, lower case, U or dots,
    interleaved mates, and every BAM, SAM and CRAM, is written anew to `directory`. `platform` None detects it.
    `references` are the FASTA files with which a CRAM may have been made.

    Raises InvalidSubmission with the faults of all files at once (100 listed, the rest counted),
    each with the file's label and, where known, its 1-based record and line.
    """
    limit = rules.max_bytes_per_file * UNPACKED_PER_BYTE
    intake = take_in(inputs, Door(rules, directory, limit, references))
    lanes, faults = arrange(intake.sources)
    lanes += sorted(intake.lanes, key=lambda lane: natural(lane.sources[0].label))
    faults = [*intake.faults, *faults]
    checked = []
    for lane in lanes:
        with ExitStack() as cleanup:  # a lane at a time: a thousand files may not be open at once
            checked.append(_check_lane(lane, intake, limit, directory, cleanup))
    faults += [fault for one in checked for fault in one.faults]
    faults += _mixed_layouts(lanes)
    if faults:
        raise InvalidSubmission(first_listed(faults))
    files = [(s, p) for one in checked for s, p in zip(one.lane.sources, one.profiles, strict=True)]
    intake.warnings += [*repeated_files(files, limit), *_two_kinds(intake)]
    report = _conclude(checked, platform, intake)
    return _written(checked, report.platform, directory, limit), report


def _as_submitted(fault: Annotation, source: Source) -> Annotation:
    """A fault of reads that were given back has the record of the submitted file, and no line."""
    if source.records is None or fault.record is None:
        return fault
    return replace(fault, record=source.record(fault.record), line=None)


def _mixed_layouts(lanes: list[Lane]) -> list[Annotation]:
    if len({lane.layout for lane in lanes}) < 2:
        return []
    message = "Single reads, while other files of the sample hold pairs; send one kind only."
    return [
        Annotation(Reason.UNPAIRED_MATES, message, file=lane.sources[0].label)
        for lane in lanes
        if lane.layout is LibraryLayout.SINGLE
    ]


def _two_kinds(intake: Intake) -> Iterator[Annotation]:
    if intake.sources and intake.lanes:
        message = "FASTQ was sent beside this aligned file; where both hold the same reads, each of them counts twice."
        yield Annotation(Reason.REPEATED_FILE, message, file=intake.lanes[0].sources[0].label)


def _check_lane(lane: Lane, intake: Intake, limit: int, directory: Path, cleanup: ExitStack) -> _Checked:
    checked = _Checked(lane)
    sound = [source for source in lane.sources if source.path not in intake.broken]
    for _ in sound:
        checked.profiles.append(Profile())
        checked.hashes.append(hashes := NameHashes(directory, lane.endings))
        cleanup.callback(hashes.close)
    with ThreadPoolExecutor(max_workers=2) as pool:  # one for each mate
        found = pool.map(_check_file, sound, repeat(limit), checked.profiles, checked.hashes)
        checked.faults += chain.from_iterable(found)
    if not checked.faults and len(checked.profiles) == len(lane.sources):
        checked.faults += mate_faults(lane, checked.hashes)
    if not checked.faults and checked.hashes:
        source = lane.sources[0]
        with Decompressed(source.path, source.compression, limit=limit) as stream:
            every = 2 if lane.interleaved else 1
            checked.faults += find_duplicates(checked.hashes[0], stream, source, every=every)
    return checked


def _check_file(source: Source, limit: int, profile: Profile, hashes: NameHashes) -> list[Annotation]:
    try:
        with Decompressed(source.path, source.compression, limit=limit) as stream:
            if check(stream, profile, hashes):
                nothing = Annotation(Reason.NO_READS, "The file holds no reads.", file=source.label)
                return [] if profile.reads else [nothing]
    except UnreadableFileError:
        pass  # the slow reading says after which record
    with Decompressed(source.path, source.compression, limit=limit) as stream:
        faults = [_as_submitted(fault, source) for fault in find_faults(stream, source.label)]
    if not faults:
        raise ProcessingFailure(STEP, "the fast and the slow check of FASTQ disagree")
    return faults


def _conclude(checked: list[_Checked], platform: Platform | None, intake: Intake) -> ValidationReport:
    profiles = [profile for one in checked for profile in one.profiles]
    layout = checked[0].lane.layout
    reads, bases = sum(p.reads for p in profiles), sum(p.bases for p in profiles)
    lengths = Lengths(max(p.longest for p in profiles), bases / reads, sum(p.quality_sum for p in profiles) / bases)
    titles = [title for profile in profiles for title in profile.titles]
    found, proven = detect_platform(titles, lengths, paired=layout is LibraryLayout.PAIRED)
    if not proven and len(intake.platforms) == 1:
        found, proven = next(iter(intake.platforms)), True
    warnings = [*intake.warnings, *_warnings(checked)]
    if platform not in (None, found) and (proven or platform is Platform.ILLUMINA):
        message = f"The metadata say {platform}, but names and lengths of the reads say {found}."
        warnings.append(Annotation(Reason.PLATFORM_MISMATCH, message))
    return ValidationReport(
        platform=platform or found,
        layout=layout,
        reads=reads,
        bases=bases,
        min_length=min(p.shortest for p in profiles),
        max_length=lengths.longest,
        mean_length=lengths.mean,
        mean_quality=lengths.mean_quality,
        warnings=first_listed(warnings),
    )


def _warnings(checked: list[_Checked]) -> Iterator[Annotation]:
    for one in checked:
        for source, profile in zip(one.lane.sources, one.profiles, strict=True):
            if profile.carriage_returns:
                message = "Lines end with CR LF, as on Windows; they were read as LF."
                yield Annotation(Reason.LINE_ENDS, message, file=source.label)
            if profile.looks_like_phred64:
                message = (
                    "The qualities look like the scale of Solexa or Illumina before 2011 (Phred+64);"
                    " they were read as today's (Phred+33)."
                )
                yield Annotation(Reason.QUALITY_ENCODING, message, file=source.label)


def _written(checked: list[_Checked], platform: Platform, directory: Path, limit: int) -> ReadFiles:
    mates: tuple[list[Path], list[Path]] = ([], [])
    for number, one in enumerate(checked, start=1):
        if one.lane.interleaved:
            targets = tuple(directory / f"validated_{number:04d}_R{mate}.fastq.gz" for mate in (1, 2))
            _rewrite(one.lane.sources[0], targets, limit)
            mates[0].append(targets[0])
            mates[1].append(targets[1])
            continue
        for mate, (source, profile) in enumerate(zip(one.lane.sources, one.profiles, strict=True)):
            path = source.path
            if profile.carriage_returns or profile.reshaped_bases or _only_we_can_unpack(source):
                path = directory / f"validated_{number:04d}_R{mate + 1}.fastq.gz"
                _rewrite(source, (path,), limit)
            mates[mate].append(path)
    return ReadFiles(platform, checked[0].lane.layout, tuple(mates[0]), tuple(mates[1]))


def _only_we_can_unpack(source: Source) -> bool:
    return source.compression is Compression.ZSTD or (source.compression is Compression.GZIP and is_padded(source.path))


def _rewrite(source: Source, targets: tuple[Path, ...], limit: int) -> None:
    with Decompressed(source.path, source.compression, limit=limit) as stream:
        rewrite(stream, targets)
