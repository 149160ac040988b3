"""Organisms with all that their files name, so that nothing changes beneath whoever uses them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from readvault import demo_organism
from readvault.config import Settings, load_organisms
from readvault.domain.errors import NotReady
from readvault.domain.organism import Organism, Reference
from readvault.domain.organism.loaded import OrganismSet
from readvault.organisms import named_files
from readvault.organisms.effective import by_content
from readvault.yaml_files import read

FOLDER = "organism-files"
_Stat = tuple[str, int, int, int, int]


class StillChanging(NotReady):
    """Somebody saves files at this very moment."""


def load(settings: Settings) -> OrganismSet:
    """Read all organisms of the instance, `demo` among them when it was asked for.

    References, genes and primers are kept by their content, and it is these copies that the organisms
    name: a job that began with one reference ends with it, whatever is saved meanwhile. Raises NotReady
    with what is wrong, StillChanging when files change while they are read.
    """
    before = digest(settings)
    found = load_organisms(settings.organisms_dir)
    if settings.load_demo_organism:
        found[demo_organism.NAME] = demo_organism.load(settings)
    keep = functools.partial(_kept, _folder(settings))
    kept = {name: _with_files(organism, keep) for name, organism in found.items()}
    if digest(settings) != before:
        raise StillChanging(f"the files in {settings.organisms_dir} change while they are read")
    return OrganismSet(kept, {name: digest_of(organism) for name, organism in kept.items()}, before)


def digest_of(organism: Organism) -> str:
    """The SHA-256 (hexadecimal) of an organism's effective configuration, contents of its files included."""
    return hashlib.sha256(json.dumps(by_content(organism), sort_keys=True).encode()).hexdigest()


def digest(settings: Settings) -> str:
    """The SHA-256 (hexadecimal) of all organism files and all that they name."""
    content = hashlib.sha256()
    for path in files(settings.organisms_dir):
        content.update(f"{path}\0".encode())
        try:
            content.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError:
            content.update(b"gone")
    return content.hexdigest()


def stats(settings: Settings) -> tuple[_Stat, ...]:
    """Sizes and times of all these files: who changes one changes them, unless clocks are coarse."""
    return tuple(_stats(files(settings.organisms_dir)))


def files(directory: Path) -> list[Path]:
    """All organism files of a directory and what they name, in order."""
    found: list[Path] = []
    for path in sorted(directory.glob("*.yaml")):
        found.append(path)
        with contextlib.suppress(OSError, UnicodeDecodeError):  # loading tells what is wrong with it
            found += _named_in(path.read_text(encoding="utf-8"), path.absolute().parent)
    return list(dict.fromkeys(found))


@functools.lru_cache(256)
def _named_in(text: str, folder: Path) -> tuple[Path, ...]:
    try:
        content = read(text).content
    except yaml.YAMLError:
        return ()
    return tuple(one.path for kind in named_files.named_in(content, folder).values() for one in kind)


def _stats(paths: Iterable[Path]) -> Iterator[_Stat]:
    for path in paths:
        try:
            seen = path.stat()
        except OSError:
            yield str(path), 0, 0, 0, 0
        else:
            yield str(path), seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino


def _with_files(organism: Organism, keep: functools.partial[Path]) -> Organism:
    """The organism with its files as they are kept."""

    def placed[R: Reference](reference: R) -> R:
        genes = None if reference.genes is None else keep(reference.genes)
        return reference.model_copy(update={"fasta": keep(reference.fasta), "genes": genes})

    align = organism.pipeline.align
    schemes = {name: keep(path) for name, path in align.primer_schemes.items()}
    is_named = align.primers is None or str(align.primers) in schemes
    primers = align.primers if is_named or align.primers is None else keep(align.primers)
    align = align.model_copy(update={"primers": primers, "primer_schemes": schemes})
    return organism.model_copy(
        update={
            "reference": None if organism.reference is None else placed(organism.reference),
            "references": tuple(map(placed, organism.references)),
            "pipeline": organism.pipeline.model_copy(update={"align": align}),
        }
    )


def _kept(folder: Path, path: Path) -> Path:
    """A copy that has the content which the file has now, for ever."""
    try:
        content = path.read_bytes()
        place = folder / hashlib.sha256(content).hexdigest()[:32] / path.name
        if not (place.is_file() and place.read_bytes() == content):
            place.parent.mkdir(parents=True, exist_ok=True)
            half = place.with_name(f".{uuid.uuid4().hex}")
            half.write_bytes(content)
            half.replace(place)
    except OSError as fault:
        raise NotReady(f"{path} can't be read or kept in {folder}: {fault.strerror}") from fault
    return place


def _folder(settings: Settings) -> Path:
    """Where copies are kept: in the data directory, where this process may write there."""
    folder = settings.data_dir.absolute() / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return _of_this_process()
    return folder if os.access(folder, os.W_OK | os.X_OK) else _of_this_process()


@functools.cache
def _of_this_process() -> Path:
    return Path(tempfile.mkdtemp(prefix="readvault-"))
