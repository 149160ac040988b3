"""The reads that a command line names: files, or the folders that hold them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from readvault.domain.errors import NotReady
from readvault.reads.sample import InputFile
from readvault.reads.validate.formats_recognition import claimed_by


def read_files(named: Sequence[Path]) -> tuple[InputFile, ...]:
    """All files of reads, labelled by their names; by their places below what they share where names repeat.

    A folder stands for the files right in it that FASTQ, BAM, SAM or CRAM end the name of, as nanopore software
    leaves them in one folder for each barcode. Raises NotReady for a folder without such files: one
    with a folder for each sample is several samples.
    """
    paths = [path for each in named for path in (_in_folder(each) if each.is_dir() else (each,))]
    often = Counter(path.name for path in paths)
    if len(often) == len(paths):
        return tuple(InputFile(path, path.name) for path in paths)
    shared = Path(os.path.commonpath([path.absolute() for path in paths]))
    shared = shared if shared.is_dir() else shared.parent
    return tuple(InputFile(path, path.absolute().relative_to(shared).as_posix()) for path in paths)


def _in_folder(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.is_file() and claimed_by(path.name)[0] is not None)
    if not found:
        raise NotReady(f"no files of reads are in {folder}; name the folder of one sample")
    return found
