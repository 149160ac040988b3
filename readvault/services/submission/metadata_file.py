"""The metadata file: one row per entry, its files in columns `files.<category>`."""

from __future__ import annotations

import csv
import io
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from readvault.domain import filenames
from readvault.domain.annotations import Annotation, Field, FieldType, Reason
from readvault.domain.errors import BadRequest, TooLarge, Unprocessable
from readvault.domain.metadata import faults_of, missing_columns
from readvault.domain.organism import FILES_PREFIX, Organism
from readvault.services.drops.claiming import Dropped, read_token

ID_COLUMNS = ("id", "submissionId")
ACCESSION_COLUMN = "accession"
FASTA_IDS_COLUMN = "fastaIds"
FILES_COLUMN = "files"
MAX_CELL = 32 * 1024
"""Characters of one cell; a cell with files may have as many as the file."""
_NO_ID_COLUMN = "The metadata file does not contain either header 'id' or 'submissionId'"
_NO_TABS = ". Its first line has no tab: columns are separated by tabs, not by commas or semicolons."
_OTHER_SEPARATOR = re.compile("[,;]")
_NO_TSV = (
    "The metadata file is not a valid TSV file. Common causes include: fields not separated by tabs, improperly"
    " formatted quoted fields, inconsistent number of fields per row, or empty lines. Error: "
)


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file of an entry: the submitter's label and the ID it was uploaded under."""

    name: str
    file_id: str


@dataclass(frozen=True, slots=True)
class MetadataRow:
    """One entry. `record` counts from 1, `fasta_ids` is None when the file has no such column."""

    record: int
    line: int
    submission_id: str
    metadata: dict[str, str]
    files: dict[str, list[NamedFile]]
    fasta_ids: list[str] | None
    accession: str = ""
    """Which entry is revised; empty when the entry is new."""


Revised = Mapping[str, Mapping[str, list[NamedFile]]]
"""Entries that may be revised, by accession, with their latest files by category."""


@dataclass(slots=True)
class MetadataFile:
    """All entries of a metadata file, and all its faults."""

    rows: list[MetadataRow] = field(default_factory=list)
    faults: list[Annotation] = field(default_factory=list)

    def fault(self, message: str, column: str, record: int | None = None, line: int | None = None) -> None:
        """Note a fault; of a whole column when no record is given."""
        kind = FieldType.FILE if column.startswith(FILES_PREFIX) else FieldType.METADATA
        name = column.removeprefix(FILES_PREFIX)
        reason = Reason.INVALID_METADATA if record else Reason.MISSING_METADATA
        self.faults.append(Annotation(reason, message, (Field(kind, name),), record=record, line=line))


def is_metadata_column(name: str) -> bool:
    """Whether a column of this name can hold metadata: it names neither the entry nor its sequences or files."""
    return name not in (*ID_COLUMNS, ACCESSION_COLUMN, FASTA_IDS_COLUMN, FILES_COLUMN) and not name.startswith(
        FILES_PREFIX
    )


def accessions_of(text: str) -> list[str]:
    """Whom the rows of a revision are about, in their order; rows that name nobody are left out.

    Raises Unprocessable when the file has no column `accession` or can't be read as a table.
    """
    lines = _lines(text)
    _, header = next(lines, (1, []))
    if ACCESSION_COLUMN not in header:
        raise Unprocessable(f"The revised metadata file does not contain the header '{ACCESSION_COLUMN}'")
    place = header.index(ACCESSION_COLUMN)
    return [cells[place] for _, cells in lines if len(cells) > place and cells[place]]


def parse(
    text: str,
    organism: Organism,
    *,
    max_rows: int,
    revised: Revised | None = None,
    dropped: Mapping[str, Dropped] = MappingProxyType({}),
) -> MetadataFile:
    """Read a TSV into entries; every fault of every row is noted. `dropped` are unclaimed files, by object name.

    With `revised` the rows are revisions: each names its `accession`, and in a category without a
    column it keeps the files that it has. An empty cell drops them.
    Raises Unprocessable when it can't be read as a table of entries, BadRequest for files where
    the organism takes none, TooLarge for more than `max_rows` rows.
    """
    lines = _lines(text)
    _, header = next(lines, (1, []))
    columns = _columns(header, organism)
    content = MetadataFile()
    for missing in missing_columns(organism.metadata, columns):
        content.fault(f"The metadata file does not contain the required column '{missing}'", missing)
    absent = {annotation.fields[0].name for annotation in content.faults}
    for record, (line, cells) in enumerate(lines, start=1):
        if record > max_rows:
            raise TooLarge(f"One submission may have {max_rows} rows.")
        if len(cells) != len(columns):
            text_ = f"{_NO_TSV}record #{record} (line {line}) has {len(cells)} fields, the header has {len(columns)}"
            content.fault(text_, columns[0], record, line)
            continue
        _read_row(content, organism, dict(zip(columns, cells, strict=True)), record, line, absent, revised, dropped)
    if not content.rows and not content.faults:
        raise Unprocessable("The metadata file contains no entries.")
    repeated = Counter(row.submission_id for row in content.rows)
    for row in content.rows:
        if repeated[row.submission_id] > 1:
            text_ = "Metadata file contains at least one duplicate submissionId: "
            content.fault(f"{text_}'{row.submission_id}' in record #{row.record}", "id", row.record, row.line)
    named = Counter(row.accession for row in content.rows if row.accession)
    for row in content.rows:
        if named[row.accession] > 1:
            text_ = f"In metadata file: record #{row.record} with id '{row.submission_id}': accession '{row.accession}'"
            content.fault(f"{text_} is revised more than once", ACCESSION_COLUMN, row.record, row.line)
    return content


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    reader = csv.reader(io.StringIO(text, newline=""), dialect="excel-tab", strict=True)
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield reader.line_num, stripped
    except csv.Error as fault:
        raise Unprocessable(f"{_NO_TSV}line {reader.line_num}: {fault}") from None


def _columns(header: list[str], organism: Organism) -> list[str]:
    """The columns' names; a column `files` stands for the organism's first category."""
    categories = list(organism.submission.files)
    columns = [FILES_PREFIX + categories[0] if name == FILES_COLUMN and categories else name for name in header]
    ids = [name for name in ID_COLUMNS if name in columns]
    if not ids:
        raise Unprocessable(
            _NO_ID_COLUMN + (_NO_TABS if len(header) == 1 and _OTHER_SEPARATOR.search(header[0]) else "")
        )
    if len(ids) > 1:
        raise Unprocessable("The metadata file contains both 'id' and 'submissionId'. Only one is allowed.")
    if "" in columns:
        raise Unprocessable(f"{_NO_TSV}column {columns.index('') + 1} has no name")
    if repeated := [name for name, count in Counter(columns).items() if count > 1]:
        raise Unprocessable(f"{_NO_TSV}The header contains a duplicate name: {', '.join(repeated)}")
    for name in (name for name in columns if name == FILES_COLUMN or name.startswith(FILES_PREFIX)):
        if not categories:
            raise BadRequest(f"the {organism.name} organism does not support file submission.")
        if (category := name.removeprefix(FILES_PREFIX)) not in categories:
            raise Unprocessable(
                f"The category {category} is not part of the configured submission categories for {organism.name}."
                f" Allowed categories are: {', '.join(categories)}."
            )
    return columns


def _read_row(
    content: MetadataFile,
    organism: Organism,
    cells: dict[str, str],
    record: int,
    line: int,
    absent: set[str],
    revised: Revised | None,
    dropped: Mapping[str, Dropped],
) -> None:
    id_column = next(name for name in ID_COLUMNS if name in cells)
    submission_id = cells[id_column]
    if not submission_id:
        content.fault(
            f"Record #{record} in the metadata file contains no value for '{id_column}'.", id_column, record, line
        )
        return
    accession = "" if revised is None else cells.pop(ACCESSION_COLUMN)
    if revised is not None and not accession:
        text = f"Record #{record} in the metadata file contains no value for '{ACCESSION_COLUMN}'."
        content.fault(text, ACCESSION_COLUMN, record, line)
    where = f"In metadata file: record #{record} with id '{submission_id}': "
    if any(character.isspace() for character in submission_id):
        text = (
            f"Record #{record} in the metadata file: the value for '{id_column}' contains whitespace: '{submission_id}'"
        )
        content.fault(text, id_column, record, line)
    files = {
        column.removeprefix(FILES_PREFIX): _read_files(content, organism, where, column, cell, record, line, dropped)
        for column, cell in cells.items()
        if column.startswith(FILES_PREFIX) and cell
    }
    for category, kept in ({} if revised is None else revised.get(accession, {})).items():
        if FILES_PREFIX + category not in cells:
            files[category] = kept
    special = (id_column, FASTA_IDS_COLUMN)
    metadata = {c: v for c, v in cells.items() if c not in special and not c.startswith(FILES_PREFIX)}
    if len(metadata) + len(files) == 0:
        text = f"In metadata file: record #{record} with id {submission_id} contains no metadata. This is invalid."
        content.fault(text, id_column, record, line)
    for column, value in metadata.items():
        if len(value) > MAX_CELL:
            content.fault(f"{where}column '{column}': a value may have {MAX_CELL} characters", column, record, line)
    for column, fault in faults_of(organism.metadata, metadata, [name for name, of in files.items() if of]):
        if column not in absent:
            content.fault(f"{where}column '{column}': {fault}", column, record, line)
    for category, limits in organism.submission.files.items():
        # What an entry that doesn't exist would keep is nobody's fault.
        known = revised is None or accession in revised
        if limits.required and known and not files.get(category):
            column = FILES_PREFIX + category
            content.fault(f"{where}column '{column}': a file is required", column, record, line)
    fasta_ids = _read_fasta_ids(content, organism, where, cells, record, line)
    content.rows.append(MetadataRow(record, line, submission_id, metadata, files, fasta_ids, accession))


def _read_fasta_ids(
    content: MetadataFile, organism: Organism, where: str, cells: dict[str, str], record: int, line: int
) -> list[str] | None:
    if FASTA_IDS_COLUMN not in cells:
        return None
    fasta_ids = cells[FASTA_IDS_COLUMN].split()
    if not fasta_ids and organism.submission.consensus_sequences == "required":
        text = f"In metadata file: record #{record}: column `{FASTA_IDS_COLUMN}` is empty. This is invalid."
        content.fault(text, FASTA_IDS_COLUMN, record, line)
    if repeated := [name for name, count in Counter(fasta_ids).items() if count > 1]:
        text = f"{where}found duplicate fasta ids in column '{FASTA_IDS_COLUMN}': {', '.join(repeated)}"
        content.fault(text, FASTA_IDS_COLUMN, record, line)
    return fasta_ids


def _read_files(
    content: MetadataFile,
    organism: Organism,
    where: str,
    column: str,
    cell: str,
    record: int,
    line: int,
    dropped: Mapping[str, Dropped],
) -> list[NamedFile]:
    files: list[NamedFile] = []
    for token in cell.split():
        read = _read_token(token, column, organism, dropped)
        if isinstance(read, NamedFile):
            files.append(read)
        else:
            content.fault(where + read, column, record, line)
    category = column.removeprefix(FILES_PREFIX)
    if repeated := [name for name, count in Counter(file.name for file in files).items() if count > 1]:
        text = f"{where}found duplicate file names in column '{column}': {', '.join(repeated)}"
        content.fault(text, column, record, line)
    for file in files:
        if fault := filenames.fault_of(file.name):
            content.fault(filenames.message(file.name, category, fault), column, record, line)
    limit = organism.submission.files[category].max_files
    if len(files) > limit:
        content.fault(f"{where}column '{column}' has {len(files)} files; {limit} are allowed", column, record, line)
    return files


def _read_token(token: str, column: str, organism: Organism, dropped: Mapping[str, Dropped]) -> NamedFile | str:
    """The file that a token `name:fileId` or `drop:<object name>` names, or what is wrong with it."""
    entry = f"file entry '{token}' in column '{column}' "
    delivered = read_token(token, organism, column.removeprefix(FILES_PREFIX), dropped)
    if delivered is not None:
        return f"{entry}can't be here: {delivered}." if isinstance(delivered, str) else NamedFile(*delivered)
    expected = "Expected format 'fileName:fileId'."
    name, colon, file_id = token.rpartition(":")
    if not colon:
        return f"{entry}is missing a file ID. {expected} Please also ensure file names do not contain whitespace."
    if not name:
        return f"{entry}is missing a file name. {expected}"
    if len(file_id) != 36:
        return f"{entry}has an invalid file ID '{file_id}'. Expected a UUID of length 36."
    try:
        return NamedFile(name, str(uuid.UUID(file_id)))
    except ValueError:
        return f"{entry}has an invalid file ID '{file_id}'. Expected a UUID."
