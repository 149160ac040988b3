"""Files and folders on the command line of `readvault process`."""

from __future__ import annotations

from pathlib import Path

import pytest

from readvault.cli.read_files import read_files
from readvault.domain.errors import NotReady


def made(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def test_a_file_is_called_by_its_name(tmp_path: Path) -> None:
    paths = made(tmp_path, "a/S_R1.fastq.gz", "b/S_R2.fastq.gz")
    assert [file.label for file in read_files(paths)] == ["S_R1.fastq.gz", "S_R2.fastq.gz"]


def test_names_that_repeat_have_their_folders(tmp_path: Path) -> None:
    """Two runs of one library: mates must find each other."""
    paths = made(tmp_path, "run1/S_R1.fq", "run1/S_R2.fq", "run2/S_R1.fq", "run2/S_R2.fq")
    found = read_files(paths)
    assert [file.label for file in found] == ["run1/S_R1.fq", "run1/S_R2.fq", "run2/S_R1.fq", "run2/S_R2.fq"]
    assert [file.path for file in found] == paths


def test_one_file_named_twice_keeps_its_name(tmp_path: Path) -> None:
    [path] = made(tmp_path, "x.bam")
    assert [file.label for file in read_files([path, path])] == ["x.bam", "x.bam"]


def test_a_folder_stands_for_the_reads_in_it_and_no_others(tmp_path: Path) -> None:
    made(tmp_path, "barcode01/x_1.fastq.gz", "barcode01/x_0.fastq.gz", "barcode01/x.fastq.gz.md5", "barcode01/y/z.fq")
    assert [file.label for file in read_files([tmp_path / "barcode01"])] == ["x_0.fastq.gz", "x_1.fastq.gz"]


def test_a_folder_of_many_samples_is_refused(tmp_path: Path) -> None:
    made(tmp_path, "barcode01/x_0.fastq.gz", "barcode02/x_0.fastq.gz")
    with pytest.raises(NotReady, match="one sample"):
        read_files([tmp_path])


def test_what_is_not_there_is_left_to_the_job_to_tell(tmp_path: Path) -> None:
    assert [file.label for file in read_files([tmp_path / "none.fastq"])] == ["none.fastq"]
