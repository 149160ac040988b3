"""The organism `demo`: SARS-CoV-2's reference with a host index of an invented genome.

No index of the real human genome is needed to see the whole way; only `readvault demo` and
`readvault up --demo-organism` load it. Nothing of it comes from a person.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from readvault.config import Settings, load_organism
from readvault.domain.errors import NotReady
from readvault.domain.organism import Organism

NAME = "demo"
HOST_LENGTH = 200_000
SEED = 20260101
REFERENCE = "NC_045512.2.fasta"


def host_genome(settings: Settings) -> Path:
    """Where the invented host genome lies."""
    return _folder(settings) / "host.fasta"


def load(settings: Settings) -> Organism:
    """The organism `demo`; raises NotReady when it was not prepared."""
    path = _folder(settings) / f"{NAME}.yaml"
    if not path.is_file():
        raise NotReady("the organism `demo` is not prepared: start with `readvault up --demo-organism`")
    return load_organism(path)


def _reference(settings: Settings) -> Path:
    """SARS-CoV-2's genome: beside the organism files, else (they may lie anywhere) beside readvault's own."""
    ours = Path(__file__).resolve().parents[1] / "deployments" / "organisms"
    places = [folder.absolute().parent / "references" / REFERENCE for folder in (settings.organisms_dir, ours)]
    return next((place for place in places if place.is_file()), places[0])


def prepare(settings: Settings) -> Organism:
    """Make the organism's files once in the data directory."""
    from readvault.reads.dehumanize import host_index
    from readvault.reads.simulate import simulation

    folder = _folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    reference = _reference(settings)
    host = host_genome(settings)
    index = settings.host_indexes / "demo-host.idx"
    if not (host.is_file() and index.is_file()):
        index.parent.mkdir(parents=True, exist_ok=True)
        simulation.synthetic_host(host, length=HOST_LENGTH, seed=SEED)
        host_index.build(host, index)
    content = {
        "name": NAME,
        "displayName": "Demo (SARS-CoV-2 with an invented host)",
        "reference": {"fasta": str(reference)},
        "metadata": [
            {"name": "date", "type": "date", "required": True},
            {"name": "country", "type": "string"},
            {"name": "platform", "options": ["ILLUMINA", "OXFORD_NANOPORE", "PACBIO_SMRT"]},
        ],
        "pipeline": {"dehumanize": {"index": index.stem, "sha256": host_index.digest(index)}},
    }
    (folder / f"{NAME}.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return load(settings)


def _folder(settings: Settings) -> Path:
    return settings.data_dir / "demo"
