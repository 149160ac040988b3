"""The worked example of docs/wastewater.md: shares of lineages out of the allele counts of a mixture."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from readvault.domain.organism import Consensus, PlatformThresholds
from readvault.reads.call import consensus
from readvault.reads.sample import Segment
from tests.unit.reads.bam_maker import Read, make_bam

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "deconvolve.py"
READ = 150
SHARES = {"ancestor": 0.55, "child": 0.25, "cousin": 0.2, "absent": 0.0}


def test_shares_of_lineages_come_out_of_allele_counts(tmp_path: Path) -> None:
    chance = random.Random(7)
    reference = "".join(chance.choices("ACGT", k=2000))
    mutations = {place: "ACGT"[("ACGT".index(reference[place]) + 1) % 4] for place in range(60, 1960, 100)}
    carried = {
        "ancestor": [p for n, p in enumerate(mutations) if n < 4],
        "child": [p for n, p in enumerate(mutations) if n < 9],
        "cousin": [p for n, p in enumerate(mutations) if n < 2 or 9 <= n < 14],
        "absent": [p for n, p in enumerate(mutations) if n >= 14],
    }
    genomes = {}
    for name, places in carried.items():
        letters = list(reference)
        for place in places:
            letters[place] = mutations[place]
        genomes[name] = "".join(letters)
    reads = []
    for number in range(4000):
        genome = genomes[chance.choices(list(SHARES), list(SHARES.values()))[0]]
        start = chance.randrange(len(reference) - READ)
        bases = "".join(b if chance.random() > 0.002 else chance.choice("ACGT") for b in genome[start : start + READ])
        reads.append(Read(f"r{number}", start, f"{READ}M", bases, flag=0x10 * (number % 2)))
    segments = (Segment("genome", reference),)
    consensus.call(
        make_bam(tmp_path, segments, reads),
        segments,
        thresholds=PlatformThresholds(),
        rules=Consensus(),
        sample_name="S.1",
        directory=tmp_path,
    )
    lines = (
        f"{name}\t" + " ".join(f"{reference[p]}{p + 1}{mutations[p]}" for p in places)
        for name, places in carried.items()
    )
    (tmp_path / "lineages.tsv").write_text("\n".join(lines) + "\n")
    command = [sys.executable, str(SCRIPT), str(tmp_path / "allele_counts.tsv.gz"), str(tmp_path / "lineages.tsv")]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {name: float(share) for name, share in (line.split("\t") for line in answer.splitlines())}
    assert list(found)[:3] == ["ancestor", "child", "cousin"]
    for name, share in SHARES.items():
        assert abs(found[name] - share) < 0.04, found
