"""Which lineages a mixture holds and how much of each, from readvault's `allele_counts.tsv.gz`.

    python deconvolve.py allele_counts.tsv.gz lineages.tsv

`lineages.tsv` has a line per lineage: its name, a tab, its mutations apart from the reference with blanks between
them, such as `C241T A23403G T21765-` (the last one a deleted base). Shares are those that explain the
frequencies of all listed mutations best, none below 0 and together 1, as Freyja does it: deep positions weigh more
than shallow ones, by the logarithm of their depth. Needs numpy only.
"""

from __future__ import annotations

import csv
import gzip
import re
import sys
from pathlib import Path

import numpy as np

Mutation = tuple[int, str]
MIN_DEPTH = 10


def lineages(path: Path) -> dict[str, set[Mutation]]:
    """The mutations of each lineage as (1-based position, base or `-`)."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, mutations = line.partition("\t")
        matches = [re.fullmatch(r"[ACGT](\d+)([ACGT-])", mutation) for mutation in mutations.split()]
        if not all(matches):
            raise SystemExit(f"{name}: a mutation is written like C241T or T21765-")
        found[name] = {(int(match[1]), match[2]) for match in matches if match}
    return found


def observed(path: Path, mutations: list[Mutation]) -> tuple[np.ndarray, np.ndarray]:
    """The frequency of each mutation, and the depth there. Shallow positions have the frequency 0 and the depth 0."""
    wanted = {position for position, _ in mutations}
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        table = csv.DictReader(stream, delimiter="\t")
        rows = {int(row["position"]): row for row in table if int(row["position"]) in wanted}
    frequency, depth = np.zeros(len(mutations)), np.zeros(len(mutations))
    for index, (position, allele) in enumerate(mutations):
        row = rows.get(position)
        if row is None or int(row["depth"]) < MIN_DEPTH:
            continue
        name = "deletion" if allele == "-" else allele
        depth[index] = int(row["depth"])
        frequency[index] = (int(row[f"{name}_forward"]) + int(row[f"{name}_reverse"])) / depth[index]
    return frequency, depth


def shares(profiles: np.ndarray, frequency: np.ndarray, depth: np.ndarray, rounds: int = 20000) -> np.ndarray:
    """The shares (one per column of `profiles`) whose mixture is nearest to the frequencies: weighted least squares."""
    weight = np.log2(depth + 1)
    matrix, target = profiles * weight[:, None], frequency * weight
    step = 1 / max(np.linalg.norm(matrix, 2) ** 2, 1e-12)
    found = np.full(profiles.shape[1], 1 / profiles.shape[1])
    for _ in range(rounds):
        before, found = found, on_simplex(found - step * matrix.T @ (matrix @ found - target))
        if np.abs(found - before).max() < 1e-9:
            break
    return found


def on_simplex(values: np.ndarray) -> np.ndarray:
    """The nearest point without negative values whose sum is 1."""
    ordered = np.sort(values)[::-1]
    excess = (np.cumsum(ordered) - 1) / np.arange(1, len(values) + 1)
    return np.maximum(values - excess[np.flatnonzero(ordered > excess)[-1]], 0)


def main(counts: Path, profiles: Path) -> None:
    """Print each lineage with its share, the largest first."""
    known = lineages(profiles)
    mutations = sorted(set().union(*known.values()))
    table = np.array([[mutation in own for own in known.values()] for mutation in mutations], dtype=float)
    found = shares(table, *observed(counts, mutations))
    for name, share in sorted(zip(known, found, strict=True), key=lambda pair: -pair[1]):
        print(f"{name}\t{share:.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
