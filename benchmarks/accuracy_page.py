"""The page that says how exact the results are, in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from benchmarks import accuracy_rivals
from benchmarks.accuracy_judge import Difference
from benchmarks.accuracy_scenarios import OURS, Outcome
from readvault.reads import tools

PROGRAMS = (OURS, "iVar", "samtools", "samtools simple")
MAX_ROWS = 40
HEADING = """\
# How exact the results are

This page is written by `make accuracy`; don't edit it. Samples are simulated, so the truth is known: a
reference gets substitutions and indels of 1 to 30 bases, reads are drawn from it with errors as their
qualities say, the steps of `readvault process` run, and their consensus and variants are judged. iVar and
samtools then call the same BAM (its primers clipped by readvault) with the same minimal depth and, where
they have one, base quality and frequency.

Versions: {versions}. Seeds: {seeds}. What was called with:

- iVar: `samtools mpileup -aa -A -B -d 0 -Q 0 | ivar consensus -t 0.5 -m <depth> -q <quality>`, and
  `ivar variants -t 0.03 -q <quality>`, of which rows with `PASS` count
- samtools: `samtools consensus -a --show-ins yes -d <depth>` (its Bayesian default)
- samtools simple: the same with `{simple}`

What is promised, and makes the command fail when it is broken: no error of the consensus outside N at
20 fragments or more; recall and precision of variants at least 0.99 at 5 % and 500 fragments (pure samples
and long reads: as the table says), all seeds of a sample together; frequencies at 500 fragments within ±0.02
of the fragments that were really read there.
"""
LESSONS = """\
Why they differ:

- At a depth of about 10 an insertion that half of the fragments show is a tie, which is `N` here; samtools'
  Bayesian mode takes it.
- Reads that end just after an indel are clipped there or laid over it with mismatches. iVar calls these mismatches
  as variants of their own; here such ends are compared with the indel and count with it.
- samtools' Bayesian mode has no minimal frequency and few N: it calls a base from little, right or wrong.
- Amplicons that are read 2×250 have outer parts that one strand alone shows; a minority that is linked to an
  indel nearby can then be on one strand only, and is listed as `StrandBias`. So mixtures of amplicons are judged
  on amplicons of 300 bases, of which both mates read nearly all, and on substitutions.
- An insertion of 20 to 30 bases is clipped from half of the reads; iVar counts the others only.
- Where a substitution makes a homopolymer, a nanopore often loses one of its bases, and the gap stands at the
  substitution. Such gaps are not part of its depth here, as in iVar.
- A long insertion in few reads is clipped from all of them. *nothing* in the table means that it was not seen at all.
"""


def page(outcomes: Sequence[Outcome]) -> str:
    """The page in Markdown."""
    return "\n".join([*_heading(outcomes), *_samples(outcomes), *_consensus(outcomes), *_variants(outcomes),
                      *_disagreements(outcomes), LESSONS])  # fmt: skip


def _heading(outcomes: Sequence[Outcome]) -> Iterator[str]:
    versions = {**{k: v for k, v in tools.versions().items() if k in (OURS, "minimap2")}, **accuracy_rivals.versions()}
    yield HEADING.format(
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
        seeds=", ".join(map(str, sorted({outcome.seed for outcome in outcomes}))),
        simple=" ".join(accuracy_rivals.SIMPLE),
    )


def _samples(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "## Samples"
    yield ""
    yield from _table(
        ("sample", "what it is", "variants planted"),
        [
            (o.scenario.name, o.scenario.says, str(len(o.sample.variants)))
            for o in {outcome.scenario.name: outcome for outcome in outcomes}.values()
        ],
    )


def _consensus(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "## Consensus"
    yield ""
    yield "Places where the consensus is not the truth, outside N and outside variants of about 50 %,"
    yield "and in brackets how many N it has."
    yield ""
    rows = [
        (o.scenario.name, str(o.seed), f"{o.mean_depth:.0f}×", str(len(o.deep)),
         *(f"{len(o.errors[p])} ({o.unknown[p]:,})" for p in PROGRAMS))
        for o in outcomes
    ]  # fmt: skip
    yield from _table(("sample", "seed", "mean depth", f"{OURS} at ≥ 20", *PROGRAMS), rows)


def _variants(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "## Variants"
    yield ""
    yield "Of variants with at least the frequency and the fragments that are stated, as they were really read."
    yield "A call of a planted variant is never wrong. Frequencies: the largest deviation, of substitutions."
    yield ""
    rows = []
    for o in outcomes:
        limits = f"≥ {o.scenario.min_frequency:.0%}, ≥ {o.scenario.min_depth}"
        for name, judged in o.judgements.items():
            recall, precision = f"{judged.found}/{judged.wanted}", f"{judged.right}/{judged.called}"
            rows.append(
                (o.scenario.name, str(o.seed), limits, name, f"{judged.recall:.4f} ({recall})",
                 f"{judged.precision:.4f} ({precision})", f"{judged.worst_deviation:.4f}")
            )  # fmt: skip
    yield from _table(("sample", "seed", "judged", "program", "recall", "precision", "frequencies ±"), rows)


def _disagreements(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "## Where the programs differ, and who is right"
    yield ""
    rows = [row for outcome in outcomes for row in _differing(outcome)]
    kinds = Counter((name, d.kind) for o in outcomes for name, found in o.errors.items() for d in found)
    all_kinds = sorted({kind for _, kind in kinds})
    yield "Errors of the consensus by kind, all samples together, seen from the truth"
    yield "(*ambiguous* is a code that allows the truth):"
    yield ""
    yield from _table(
        ("kind", *PROGRAMS), [(kind, *(str(kinds[name, kind]) for name in PROGRAMS)) for kind in all_kinds]
    )
    yield "Place by place (0-based on the true sequence): what each program says where at least one of them is wrong;"
    yield "`✓` is the truth."
    yield ""
    yield from _table(("sample", "seed", "segment", "place", "truth", *PROGRAMS), rows[:MAX_ROWS])
    if len(rows) > MAX_ROWS:
        yield f"… and {len(rows) - MAX_ROWS} more places."
        yield ""
    false = [
        (o.scenario.name, str(o.seed), name, f"{c.segment}:{c.position} {_short(c.reference)}→{_short(c.alternative)}")
        for o in outcomes for name, judged in o.judgements.items() for c in judged.false
    ]  # fmt: skip
    missed = [
        (o.scenario.name, str(o.seed), name, f"{c.segment}:{c.position} {_short(c.reference)}→{_short(c.alternative)}",
         o.filtered.get(c, "not listed") if name == OURS else "")
        for o in outcomes for name, judged in o.judgements.items() for c in judged.missed
    ]  # fmt: skip
    yield "Variants that were missed (*not listed*, or listed with a reason against them):"
    yield ""
    yield from _table(("sample", "seed", "program", "variant", "why"), missed[:MAX_ROWS])
    yield "Variants that nobody planted:"
    yield ""
    yield from _table(("sample", "seed", "program", "variant"), false[:MAX_ROWS])
    if len(false) > MAX_ROWS:
        counts = Counter(row[2] for row in false)
        yield f"… in all: {', '.join(f'{name} {count}' for name, count in counts.items())}."
        yield ""


def _differing(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    by_place: dict[tuple[str, int], dict[str, Difference]] = {}
    for name, found in outcome.errors.items():
        for difference in found:
            by_place.setdefault((difference.segment, difference.position), {})[name] = difference
    for (segment, place), said in sorted(by_place.items()):
        truth = max((d.truth for d in said.values()), key=len)
        yield (
            outcome.scenario.name, str(outcome.seed), segment, str(place), _short(truth) or "nothing",
            *(_short(said[name].called) or "nothing" if name in said else "✓" for name in PROGRAMS),
        )  # fmt: skip


def _short(bases: str) -> str:
    return bases if len(bases) <= 14 else f"{bases[:10]}…({len(bases)})"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
