"""SILO's engine loads an exported set by its own configuration files, and says of it what went in."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
import zstandard

from readvault.domain.interventions import Step
from readvault.query import counting
from readvault.query.exported import open_set
from readvault.query.groups import Grouping, Period
from readvault.query.mutations import parse
from readvault.query.table import lines
from readvault.services.house import House
from readvault.services.release.interventions import intervene
from tests import silo_engine
from tests.houses import MAINTAINER
from tests.integration.services.scenes import group
from tests.integration.services.silo_scenes import export, folder_of, released_reads

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(silo_engine.MISSING, reason="rhydb, SILO's engine, is not installed"),
]
QUERIES = {
    "all": "data.group(by:={}, aggs:={n:=count()})",
    "places": "data.group(by:={country}, aggs:={n:=count()})",
    "late": "data.filter(date >= '2026-02-01'::date).group(by:={}, aggs:={n:=count()})",
    "mutations": "data.mutations(minProportion:=0.0001)",
    "of Peru": "data.filter(country='Peru').mutations(minProportion:=0.0001)",
    "mutated": "data.filter(nucleotideEquals(position:=5, symbol:='T', sequenceName:='main'))"
    ".group(by:={accessionVersion}, aggs:={n:=count()})",
}


def _loaded(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What the engine says of a set, whose configuration files are all that it is told."""
    settings = yaml.safe_load((folder / "preprocessing_config.yaml").read_text())
    assert settings["withoutUnalignedSequences"]
    schema = yaml.safe_load((folder / settings["databaseConfig"]).read_text())["schema"]
    genomes = json.loads((folder / settings["referenceGenomeFilename"]).read_text())
    assert schema["primaryKey"] == schema["metadata"][0]["name"] == "readId"
    assert "generateIndex" not in schema["metadata"][0]
    columns = [
        f'"{each["name"]}" := {each["type"]}{"(generateIndex := true)" if each.get("generateIndex") else ""}'
        for each in schema["metadata"][1:]
    ]
    plain = folder / "plain.ndjson"
    packed = (folder / settings["ndjsonInputFilename"]).read_bytes()
    plain.write_bytes(zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True).read())
    named = {kind: {each["name"]: each["sequence"] for each in genomes[kind]} for kind in genomes}
    return silo_engine.ask(plain, QUERIES, genomes=named["nucleotideSequences"], genes=named["genes"], columns=columns)


def _mutations(rows: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    return {
        f"{row['mutationFrom']}{row['position']}{row['mutationTo']}": (row["count"], row["coverage"]) for row in rows
    }


def _asked(folder: Path, names: list[str]) -> dict[str, tuple[int, int]]:
    """The same by `readvault query`."""
    exported = open_set(folder)
    grouping = Grouping(Period.MONTH, "date")
    found = counting.count(exported, [parse(name, exported) for name in names], grouping)
    return {line.mutation: (line.count, line.coverage) for line in lines(found, grouping)}


def test_an_exported_set_loads_and_says_what_went_in(house: House, tmp_path: Path) -> None:
    group_id = group(house, "alice")
    peru = released_reads(house, group_id, metadata={"date": "2026-01-05", "country": "Peru"})
    chile = released_reads(
        house, group_id, metadata={"date": "2026-01-06", "country": "Chile"}, reads=(("ACGTACGT", 0), ("GTA-GT", 2))
    )
    export(house)
    found = _loaded(folder_of(tmp_path / "first", house))
    assert found["all"] == [{"n": 5}]
    assert {row["country"]: row["n"] for row in found["places"]} == {"Peru": 3, "Chile": 2}
    assert _mutations(found["mutations"]) == {"A5T": (1, 5), "C6-": (1, 5)}
    assert _asked(tmp_path / "first", ["A5T", "C6-"]) == _mutations(found["mutations"])
    assert _mutations(found["of Peru"])["A5T"] == (1, 3)
    assert found["mutated"] == [{"accessionVersion": str(peru), "n": 1}]
    assert found["late"] == [{"n": 0}]

    revised = released_reads(
        house, group_id, accession=peru.accession, version=2, metadata={"date": "2026-02-10", "country": "Peru"}
    )
    intervene(house, MAINTAINER, chile, Step.WITHDRAW, "a mix-up")
    export(house)
    folder = folder_of(tmp_path / "second", house)
    found = _loaded(folder)
    assert found["places"] == [{"country": "Peru", "n": 3}]
    assert found["late"] == [{"n": 3}]
    assert found["mutated"] == [{"accessionVersion": str(revised), "n": 1}]
    for file in json.loads((folder / "manifest.json").read_text())["files"]:
        content = (folder / file["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["size"], file["sha256"])
