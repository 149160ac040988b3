"""`readvault query`: counts of a small set are those that a person counts; where nothing is known nothing is said."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import zstandard
from typer.testing import CliRunner

from readvault.cli.main import app
from readvault.query import QueryError, counting, groups, table
from readvault.query.exported import ExportedSet, open_set
from readvault.query.groups import Grouping, Period
from readvault.query.mutations import parse

REFERENCE = "ACGTACGTACGTACGTACGT"
PROTEIN = "MKV*"


def line(
    sample: str, day: str | None, site: str | None, said: dict[str, Any] | None, gene: Any = None
) -> dict[str, Any]:
    """A line of a set."""
    return {"readId": "x", "accessionVersion": sample, "date": day, "site": site, "main": said, "S": gene}


def said(sequence: str, offset: int, *insertions: str) -> dict[str, Any]:
    """What a read says."""
    return {"sequence": sequence, "insertions": list(insertions), "offset": offset}


def exported(folder: Path, rows: list[dict[str, Any]], *, frames: int = 3) -> Path:
    """Write a set of these lines, in several frames."""
    texts = [json.dumps(row).encode() + b"\n" for row in rows]
    cut = max(1, -(-len(texts) // frames))
    packed = b"".join(
        zstandard.ZstdCompressor().compress(b"".join(texts[at : at + cut])) for at in range(0, len(texts), cut)
    )
    (folder / "reads.ndjson.zst").write_bytes(packed)
    genomes = {
        "nucleotideSequences": [{"name": "main", "sequence": REFERENCE}],
        "genes": [{"name": "S", "sequence": PROTEIN}],
    }
    (folder / "reference_genomes.json").write_text(json.dumps(genomes))
    columns = {"readId": "string", "accessionVersion": "string", "date": "date", "site": "string"}
    manifest = {"columns": [{"name": name, "type": kind} for name, kind in columns.items()]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


ROWS = [
    line("a.1", "2026-01-05", "North", said("ACGTAC", 0), said("MK", 0)),
    line("a.1", "2026-01-05", "North", said("ATGT", 0), said("MR", 0)),
    line("a.1", "2026-01-05", "North", said("ANGT", 0), said("MX", 0)),
    line("a.1", "2026-01-05", "North", said("TACGT", 3)),
    line("b.1", "2026-01-19", "North", said("ATG", 0, "2:GG")),
    line("c.1", "2026-01-07", "South", said("A-G", 0)),
    line("d.1", None, "South", said("ATG", 0)),
    line("e.1", "2026-01-19", "South", None),
]


@pytest.fixture
def small(tmp_path: Path) -> ExportedSet:
    """A set of a few reads."""
    return open_set(exported(tmp_path, ROWS))


def _asked(small: ExportedSet, *names: str, **options: Any) -> list[table.Line]:
    grouping = Grouping(**({"period": Period.WEEK, "date_column": "date", "place_column": "site"} | options))
    return list(table.lines(counting.count(small, [parse(name, small) for name in names], grouping), grouping))


def _told(lines: list[table.Line]) -> dict[tuple[str, str], tuple[int, int]]:
    return {(each.period.isoformat(), each.place): (each.count, each.coverage) for each in lines}


def test_reads_count_where_they_say_something(small: ExportedSet) -> None:
    assert _told(_asked(small, "C2T")) == {
        ("2026-01-05", "North"): (1, 2),
        ("2026-01-12", "North"): (0, 0),
        ("2026-01-19", "North"): (1, 1),
        ("2026-01-05", "South"): (0, 1),
        ("2026-01-12", "South"): (0, 0),
        ("2026-01-19", "South"): (0, 0),
    }
    assert _told(_asked(small, "2-"))["2026-01-05", "South"] == (1, 1)
    assert _told(_asked(small, "S:K2R"))["2026-01-05", "North"] == (1, 2)
    assert _told(_asked(small, "ins_2:GG"))["2026-01-19", "North"] == (1, 1)
    assert _told(_asked(small, "ins_2:GG"))["2026-01-05", "North"] == (0, 2)


def test_an_insertion_is_of_the_reads_that_know_both_sides_of_its_place(tmp_path: Path) -> None:
    """Between mates nothing is known; before the first base and behind the last one there is one side only."""
    day, site = "2026-01-05", "North"
    rows = [
        line("a.1", day, site, each)
        for each in (
            said("ACGTNNNNNNNNACGT", 0), said("GTACGT", 6, "8:AA"), said("GT", 6), said("ACGTA", 4),
            said("ACGT", 16), said("ACGT", 16, "20:AA"), said("ACG", 16),
            said("AC", 0, "0:AA"), said("CG", 1),
        )
    ]  # fmt: skip
    small = open_set(exported(tmp_path, rows))
    told = {name: _told(_asked(small, name)) for name in ("ins_8:AA", "ins_8:A", "ins_20:AA", "ins_0:AA")}
    assert {name: groups[day, site] for name, groups in told.items()} == {
        "ins_8:AA": (1, 2), "ins_8:A": (0, 2), "ins_20:AA": (1, 2), "ins_0:AA": (1, 2)
    }  # fmt: skip


@pytest.mark.parametrize("period", Period)
def test_the_last_day_of_all_calendars_is_a_date(tmp_path: Path, period: Period) -> None:
    rows = [line("a.1", day, "North", said("ATG", 0)) for day in ("9999-12-31", "9999-10-31")]
    lines = _asked(open_set(exported(tmp_path, rows)), "C2T", period=period)
    assert [each.count for each in (lines[0], lines[-1])] == [1, 1]
    rows.append(line("b.1", "0202-01-01", "North", said("ATG", 0)))
    with pytest.raises(QueryError, match="--from"):
        _asked(open_set(exported(tmp_path, rows)), "C2T", period=period)


def test_without_coverage_nothing_is_said_and_never_zero(small: ExportedSet) -> None:
    lines = _asked(small, "C2T")
    nothing = [each for each in lines if each.coverage == 0]
    assert {(each.proportion, each.interval) for each in nothing} == {(None, None)}
    found = json.loads(table.text_of(lines, "json"))
    assert all(row["proportion"] is row["low"] is row["high"] is None for row in found if row["coverage"] == 0)
    assert [row.split("\t")[5:] for row in table.text_of(nothing, "tsv").splitlines()[1:]] == [["", "", ""]] * 3


def test_periods_places_and_filters(small: ExportedSet) -> None:
    assert set(_told(_asked(small, "C2T", period=Period.MONTH, place_column=None))) == {("2026-01-01", "")}
    assert len(_told(_asked(small, "C2T", period=Period.DAY, place_column=None))) == 15
    from datetime import date

    late = _asked(small, "C2T", first=date(2026, 1, 6), last=date(2026, 1, 18))
    assert _told(late) == {("2026-01-05", "South"): (0, 1)}
    assert set(_told(_asked(small, "C2T", where=(("site", "North"),), place_column=None))) == {
        ("2026-01-05", ""), ("2026-01-12", ""), ("2026-01-19", "")
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "C2C",
        "G2T",
        "C21T",
        "C2",
        "hello",
        "X:A1T",
        "S:K9R",
        "ins_21:A",
        "ins_A",
        "C0T",
        "",
        "C2T:",
        "C2N",
        "C2R",
        "S:K2X",
        "S:K2B",
        "ins_2:GE",
        "ins_S:2:B",
    ],
)
def test_what_can_not_be_in_the_set_is_refused(small: ExportedSet, name: str) -> None:
    with pytest.raises(QueryError):
        parse(name, small)


def test_names_are_written_in_one_way(small: ExportedSet) -> None:
    assert [parse(name, small).name for name in ("2T", "c2t", "main:C2T", "s2R".replace("s", "S:"))] == [
        "C2T", "C2T", "C2T", "S:K2R"
    ]  # fmt: skip


def test_counts_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    """Many random reads, as a few lines of Python count them."""
    draw = random.Random(7)
    rows = []
    for number in range(600):
        start = draw.randrange(len(REFERENCE))
        sequence = "".join(draw.choice("ACGTN-") for _ in range(draw.randrange(0, len(REFERENCE) - start + 1)))
        day = f"2026-0{draw.randrange(1, 4)}-15"
        rows.append(line(f"s{number // 50}.1", day, draw.choice(["North", "South"]), said(sequence, start)))
    found = open_set(exported(tmp_path, rows))
    names = [
        f"{position}{symbol}" for position in range(1, 21) for symbol in "ACGT-" if REFERENCE[position - 1] != symbol
    ]
    lines = _asked(found, *names, period=Period.MONTH)
    has: Counter[tuple[str, str, str]] = Counter()
    covers: Counter[tuple[int, str, str]] = Counter()
    for row in rows:
        month, place = row["date"][:8] + "01", row["site"]
        for at, symbol in enumerate(row["main"]["sequence"], row["main"]["offset"] + 1):
            if symbol != "N":
                covers[at, month, place] += 1
                has[f"{REFERENCE[at - 1]}{at}{symbol}", month, place] += 1
    assert len(lines) == len(names) * 6
    for each in lines:
        month = each.period.isoformat()
        assert each.count == has[each.mutation, month, each.place]
        assert each.coverage == covers[int(each.mutation[1:-1]), month, each.place]


def test_mutations_are_found_by_their_share_in_a_sample(tmp_path: Path) -> None:
    often = [line("a.1", "2026-01-05", "North", said("ATG" if n < 3 else "ACG", 0)) for n in range(10)]
    seldom = [line("b.1", "2026-01-05", "North", said("ACT" if n < 1 else "ACG", 0)) for n in range(20)]
    shallow = [line("c.1", "2026-01-05", "North", said("TCG", 0))] * 3
    small = open_set(exported(tmp_path, often + seldom + shallow))
    grouping = Grouping(Period.WEEK, "date")
    found = counting.discover(small, grouping, min_proportion=0.2, min_coverage=5)
    assert [each.name for each in found] == ["C2T"]
    everything = counting.discover(small, Grouping(Period.WEEK, "date"), min_proportion=0.05, min_coverage=1)
    assert [each.name for each in everything] == ["A1T", "C2T", "G3T"]


def test_genes_are_searched_too(small: ExportedSet) -> None:
    found = counting.discover(
        small, Grouping(Period.WEEK, "date"), min_proportion=0.5, min_coverage=2, amino_acids=True
    )
    assert [each.name for each in found] == ["S:K2R"]


@pytest.mark.parametrize(("count", "coverage", "low", "high"), [(0, 10, 0.0, 0.277533), (5, 10, 0.236593, 0.763407)])
def test_the_interval_is_wilsons(count: int, coverage: int, low: float, high: float) -> None:
    assert table.wilson(count, coverage) == pytest.approx((low, high), abs=1e-5)


@pytest.mark.parametrize("kind", ["lines", "heatmap"])
def test_a_picture_is_drawn_with_gaps(small: ExportedSet, tmp_path: Path, kind: Any) -> None:
    from readvault.query.plot import plot

    target = tmp_path / f"{kind}.png"
    plot(_asked(small, "C2T", "S:K2R"), target, kind=kind)
    assert target.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(QueryError):
        plot(_asked(small, "C2T"), tmp_path / "picture.docx", kind=kind)
    with pytest.raises(QueryError):
        plot([], target)


def test_the_command_writes_a_table_and_names_its_columns(tmp_path: Path) -> None:
    exported(tmp_path, ROWS)
    out = tmp_path / "table.csv"
    options = ["query", str(tmp_path), "-m", "C2T", "--format", "csv", "--out", str(out)]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    assert out.read_text().splitlines()[:2] == [
        "mutation,period,place,count,coverage,proportion,low,high",
        "C2T,2026-01-05,North,1,2,0.5,0.094531,0.905469",
    ]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-m", "nonsense"],
        ["-m", "C2T", "--date", "nothing"],
        ["-m", "C2T", "--place", "nothing"],
        ["-m", "C2T", "--where", "nothing=1"],
    ],
)
def test_a_question_that_makes_no_sense_is_one_clear_line(tmp_path: Path, options: list[str]) -> None:
    exported(tmp_path, ROWS)
    result = CliRunner().invoke(app, ["query", str(tmp_path), *options])
    assert result.exit_code == 1
    assert "Traceback" not in result.output


def test_damaged_and_foreign_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(QueryError):
        open_set(tmp_path)
    exported(tmp_path, ROWS)
    packed = tmp_path / "reads.ndjson.zst"
    packed.write_bytes(packed.read_bytes()[:-7])
    with pytest.raises(QueryError):
        _asked(open_set(tmp_path), "C2T")
    packed.write_bytes(zstandard.ZstdCompressor().compress(b"no json\n"))
    with pytest.raises(QueryError):
        _asked(open_set(tmp_path), "C2T")


def test_a_set_of_somebody_elses_is_read_as_far_as_it_says_what_it_is(tmp_path: Path) -> None:
    exported(tmp_path, [{"samplingDate": "2026-01-05", "locationName": "Bern", "main": said("ATG", 0)}])
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "reference_genomes.json").unlink()
    found = open_set(tmp_path / "reads.ndjson.zst")
    assert groups.date_column(found, None) == "samplingDate"
    assert groups.place_column(found, None) == "locationName"
    lines = _asked(found, "2T", date_column="samplingDate", place_column="locationName")
    assert [(each.count, each.coverage) for each in lines] == [(1, 1)]


def test_a_reference_in_small_letters_is_the_same_one(tmp_path: Path) -> None:
    path = exported(tmp_path, ROWS) / "reference_genomes.json"
    path.write_text(path.read_text().replace(REFERENCE, REFERENCE.lower()))
    assert parse("C2T", open_set(tmp_path)).name == "C2T"
