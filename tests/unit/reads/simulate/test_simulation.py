"""Simulated reads say what is true of them, and the same seed gives the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from readvault.domain.organism import FileCategory
from readvault.domain.reads import LibraryLayout, Platform
from readvault.reads.align.primers import load_primers
from readvault.reads.references import load_segments
from readvault.reads.sample import InputFile
from readvault.reads.simulate import simulation
from readvault.reads.simulate.simulated_amplicons import PRIMER, tile, write_scheme
from readvault.reads.validate.validation import validate
from tests.unit.reads.fastq_maker import records_of

COMPLEMENT = str.maketrans("ACGT", "TGCA")
REPOSITORY = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "reference.fasta"
    simulation.synthetic_reference(path, segments=3, seed=4)
    return path


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("host") / "host.fasta"
    simulation.synthetic_host(path, length=30_000, seed=4)
    return path


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory, reference: Path, host: Path) -> simulation.Simulated:
    return simulation.simulate(
        reference,
        tmp_path_factory.mktemp("reads"),
        pairs=3000,
        length=100,
        seed=6,
        substitutions=12,
        insertions=5,
        deletions=5,
        host=host,
        host_pairs=200,
    )


def test_the_planted_variants_turn_the_reference_into_the_truth(
    simulated: simulation.Simulated, reference: Path
) -> None:
    """Positions are 1-based, and indels left-aligned with the base before them."""
    kinds = {"substitution": 0, "insertion": 0, "deletion": 0}
    for segment in load_segments(reference):
        mutated, shift = segment.sequence, 0
        for variant in (v for v in simulated.variants if v.segment == segment.name):
            start = variant.position - 1 + shift
            assert mutated[start : start + len(variant.reference)] == variant.reference
            mutated = mutated[:start] + variant.alternative + mutated[start + len(variant.reference) :]
            change = len(variant.alternative) - len(variant.reference)
            shift += change
            kinds["insertion" if change > 0 else "deletion" if change < 0 else "substitution"] += 1
            assert (variant.reference[0] == variant.alternative[0]) == (change != 0)
            assert change == 0 or variant.reference[-1] != variant.alternative[-1], "left-aligned"
        assert mutated == simulated.truth[segment.name]
    assert kinds == {"substitution": 12, "insertion": 5, "deletion": 5}


def test_reads_are_pairs_of_the_truth_and_of_the_host_with_few_errors(
    simulated: simulation.Simulated, host: Path, tmp_path: Path
) -> None:
    assert simulated.r2 is not None
    inputs = [InputFile(path, path.name) for path in (simulated.r1, simulated.r2)]
    _, report = validate(inputs, rules=FileCategory(), platform=None, directory=tmp_path)
    assert (report.platform, report.layout, report.reads) == (Platform.ILLUMINA, LibraryLayout.PAIRED, 6400)
    assert report.warnings == ()
    virus, foreign = " ".join(simulated.truth.values()), load_segments(host)[0].sequence
    names = set(simulated.host_read_names)
    assert len(names) == 200
    exact = 0
    for first, second in zip(records_of(simulated.r1), records_of(simulated.r2), strict=True):
        source, other = (foreign, virus) if first[0][1:].split()[0] in names else (virus, foreign)
        inwards = (first[1], second[1].translate(COMPLEMENT)[::-1])
        outwards = (second[1], first[1].translate(COMPLEMENT)[::-1])
        exact += any(a in source and b in source and source.index(a) <= source.index(b) for a, b in (inwards, outwards))
        assert first[1] not in other
    assert 3200 * 0.5 < exact < 3200 * 0.98


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    simulated: simulation.Simulated, reference: Path, host: Path, tmp_path: Path
) -> None:
    def again(name: str, seed: int) -> simulation.Simulated:
        return simulation.simulate(
            reference, tmp_path / name, pairs=3000, length=100, seed=seed, substitutions=12, insertions=5, deletions=5,
            host=host, host_pairs=200,
        )  # fmt: skip

    same, other = again("same", 6), again("other", 7)
    assert same.r1.read_bytes() == simulated.r1.read_bytes()
    assert (same.truth, same.variants) == (simulated.truth, simulated.variants)
    assert other.r1.read_bytes() != simulated.r1.read_bytes()


@pytest.mark.parametrize("platform", [Platform.OXFORD_NANOPORE, Platform.PACBIO_SMRT])
def test_long_reads_are_valid_and_look_like_their_platform(
    tmp_path: Path, reference: Path, host: Path, platform: Platform
) -> None:
    made = simulation.simulate(
        reference, tmp_path, pairs=150, length=800, seed=1, host=host, host_pairs=10, platform=platform
    )
    assert made.r2 is None
    _, report = validate([InputFile(made.r1, "x.fastq.gz")], rules=FileCategory(), platform=None, directory=tmp_path)
    assert (report.platform, report.layout, report.reads) == (platform, LibraryLayout.SINGLE, 160)
    assert 500 < report.mean_length < 1100
    assert len(set(made.host_read_names) & {r[0][1:].split()[0] for r in records_of(made.r1)}) == 10


@pytest.mark.parametrize("platform", [Platform.OXFORD_NANOPORE, Platform.PACBIO_SMRT])
def test_long_reads_are_of_the_truth_with_few_errors(tmp_path: Path, reference: Path, platform: Platform) -> None:
    """So few that most stretches of ten bases are as in the truth."""
    made = simulation.simulate(reference, tmp_path, pairs=50, length=400, seed=2, platform=platform)
    truth = "".join(made.truth.values())
    both = truth + "-" + truth.translate(COMPLEMENT)[::-1]
    tens = [r[1][at : at + 10] for r in records_of(made.r1) for at in range(0, len(r[1]) - 10, 10)]
    assert sum(ten in both for ten in tens) > 0.6 * len(tens)


def test_more_variants_than_fit_are_refused(reference: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fit"):
        simulation.simulate(reference, tmp_path, pairs=1, length=50, seed=1, substitutions=10_000)


def test_the_shipped_references_are_what_they_say(shared_data: Path, tmp_path: Path) -> None:
    """NC_045512.2 base by base; the segmented example as `synthetic_reference` makes it."""
    shipped = REPOSITORY / "deployments" / "references"
    assert load_segments(shipped / "NC_045512.2.fasta") == load_segments(
        shared_data / "dev" / "refs" / "NC_045512.2.fasta"
    )
    simulation.synthetic_reference(tmp_path / "made.fasta")
    assert (tmp_path / "made.fasta").read_bytes() == (shipped / "segmented-example.fasta").read_bytes()


def test_a_mixture_has_each_variant_in_its_share_of_the_fragments(reference: Path, tmp_path: Path) -> None:
    """What chance made of the shares is counted, and the truth is what most fragments carry."""
    made = simulation.simulate(
        reference, tmp_path, pairs=4000, length=100, seed=3, substitutions=20, longest_indel=30, shares=(1.0, 0.1, 0.5),
    )  # fmt: skip
    reads = "\n".join(r[1] for path in (made.r1, made.r2) if path for r in records_of(path))
    reads += "\n" + reads.translate(COMPLEMENT)[::-1]
    sequences = {segment.name: segment.sequence for segment in load_segments(reference)}
    for variant, frequency, depth in zip(made.variants, made.frequencies, made.depths, strict=True):
        assert frequency == pytest.approx(variant.share, abs=0.1)
        assert depth > 60
        left = sequences[variant.segment][variant.position - 11 : variant.position - 1]
        right = sequences[variant.segment][variant.position : variant.position + 10]
        mutated, original = (reads.count(left + base + right) for base in (variant.alternative, variant.reference))
        assert mutated / (mutated + original) == pytest.approx(frequency, abs=0.05)
    segment = made.variants[0].segment
    expected = list(sequences[segment])
    for variant in made.variants:
        if variant.segment == segment and variant.share > 0.5:
            expected[variant.position - 1] = variant.alternative
    assert made.truth[segment] == "".join(expected)


def test_amplicons_begin_with_primers_of_the_reference_and_hold_the_virus_between_them(
    reference: Path, tmp_path: Path
) -> None:
    segments = load_segments(reference)
    tiles = tile(segments, size=300, overlap=80, dropouts=[2])
    write_scheme(tmp_path / "scheme.bed", tiles)
    sites = {(site.segment, site.start): site for site in load_primers(tmp_path / "scheme.bed", segments)}
    made = simulation.simulate(
        reference, tmp_path, pairs=500, length=160, seed=3, substitutions=20, insertions=5, deletions=5,
        longest_indel=30, amplicons=tiles,
    )  # fmt: skip
    sequences = {segment.name: segment.sequence for segment in segments}
    lefts = {sequences[t.segment][t.start : t.start + PRIMER]: t for t in tiles}
    near = 0
    for title, bases, *_ in [*records_of(made.r1), *records_of(made.r2)]:  # type: ignore[arg-type]
        found = lefts.get(bases[:PRIMER])
        if found is not None:
            assert found.weight > 0, title
            assert sites[found.segment, found.start].strand == "+"
            near += bases[30:60] in made.truth[found.segment]
    assert 250 < near < 510  # the left ends of 500 amplicons, some with an error
    assert {round(f) for f, depth in zip(made.frequencies, made.depths, strict=True) if depth} == {1}
    assert all(site.end - site.start == PRIMER for site in sites.values())


def test_what_contradicts_itself_is_refused(reference: Path, tmp_path: Path) -> None:
    tiles = tile(load_segments(reference), size=300)
    with pytest.raises(ValueError, match="longer than amplicon"):
        simulation.simulate(reference, tmp_path, pairs=1, length=301, seed=1, amplicons=tiles)
    with pytest.raises(ValueError, match="Illumina"):
        simulation.simulate(
            reference, tmp_path, pairs=1, length=50, seed=1, amplicons=tiles, platform=Platform.PACBIO_SMRT
        )
    with pytest.raises(ValueError, match="30 bases"):
        simulation.simulate(reference, tmp_path, pairs=1, length=50, seed=1, insertions=1, longest_indel=31)


def test_nanopores_miscount_homopolymers(tmp_path: Path) -> None:
    """Runs of seven are read too short in more than a tenth of the reads; the qualities do not tell."""
    (tmp_path / "runs.fasta").write_text(">runs\n" + "ACGTTGCAGTCATCAAAAAAAGTCAGCTAGC" * 40 + "\n")
    made = simulation.simulate(
        tmp_path / "runs.fasta", tmp_path, pairs=60, length=500, seed=2, platform=Platform.OXFORD_NANOPORE
    )
    reads = "\n".join(r[1] for r in records_of(made.r1))
    reads += "\n" + reads.translate(COMPLEMENT)[::-1]
    full, short = reads.count("CATCAAAAAAAGTC"), reads.count("CATCAAAAAAGTC")
    assert 0.1 < short / (full + short) < 0.25
