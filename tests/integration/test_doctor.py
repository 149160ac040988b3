"""The doctor says of everything that processing needs whether it is there, and what to do when not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from readvault import bootstrap
from readvault.cli.main import app
from readvault.config import Settings
from readvault.doctor import examination, machine
from readvault.doctor.examination import examine
from readvault.doctor.findings import Finding, Level
from readvault.reads.dehumanize import host_index
from tests.unit.reads.fastq_maker import bases, write

SPEAKING = set(examination.PROBES) - {"left logins", "credentials", "demo", "pulls"} | {"identity", "credentials"}
"""Probes that say something of an instance with nothing set; the others speak when something is wrong."""
HOST, VIRUS = bases(4000, seed=31), bases(3000, seed=32)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An instance with the organism `good`, whose index shares no k-mer with it."""
    (tmp_path / "host-index").mkdir()
    (tmp_path / "organisms").mkdir()
    index = tmp_path / "host-index" / "human.idx"
    built = host_index.build(write(tmp_path / "host.fasta", f">h\n{HOST}\n"), index)
    organism(tmp_path, "good", VIRUS, f"{{index: human, sha256: '{built.sha256}'}}")
    return tmp_path


def organism(place: Path, name: str, genome: str, dehumanize: str) -> None:
    write(place / "organisms" / f"{name}.fasta", f">{name}-genome\n{genome}\n")
    text = f"name: {name}\nreference: {{fasta: {name}.fasta}}\npipeline: {{dehumanize: {dehumanize}}}\n"
    write(place / "organisms" / f"{name}.yaml", text)


def settings(place: Path) -> Settings:
    return Settings(data_dir=place, organisms_dir=place / "organisms")


def found(place: Path, probe: str) -> list[Finding]:
    return [finding for finding in examine(settings(place)) if finding.probe == probe]


def test_a_whole_instance_has_no_failure_and_every_probe_speaks(place: Path) -> None:
    findings = list(examine(settings(place)))
    assert {finding.probe for finding in findings} == SPEAKING
    assert [finding for finding in findings if finding.level is Level.FAIL] == []
    assert found(place, "shared with host")[0].message == "good: human.idx and good.fasta share no k-mer"
    assert all(finding.advice for finding in findings if finding.level is not Level.OK)


def test_what_host_and_reference_share_is_told_with_its_places(place: Path) -> None:
    genome = VIRUS[:1000] + HOST[700:800] + VIRUS[1000:]
    digest = hashlib.sha256((place / "host-index" / "human.idx").read_bytes()).hexdigest()
    organism(place, "herpes", genome, f"{{index: human, sha256: '{digest}'}}")
    ok, warning = found(place, "shared with host")
    assert (ok.level, warning.level) == (Level.OK, Level.WARN)
    assert "segment herpes-genome share 70 k-mers on 100 positions (3.23%): 1001-1100" in warning.message
    assert "of its reads of 150 bases would leave as human" in (warning.advice or "")


@pytest.mark.parametrize(
    ("dehumanize", "level", "words"),
    [
        ("{above: remove}", Level.FAIL, "no host index is configured"),
        ("{index: absent, sha256: '" + "0" * 64 + "'}", Level.FAIL, "absent.idx is not in"),
        ("{index: human, sha256: '" + "0" * 64 + "'}", Level.FAIL, "is pinned"),
        ("{off: sequenced from a clone}", Level.WARN, "not screened"),
    ],
)
def test_an_organism_that_can_not_be_screened_is_told(place: Path, dehumanize: str, level: Level, words: str) -> None:
    organism(place, "other", VIRUS, dehumanize)
    good, other = found(place, "host index")
    assert (good.level, other.level) == (Level.OK, level)
    assert words in other.message


def test_a_broken_organism_file_fails_and_the_others_are_still_looked_at(place: Path) -> None:
    write(place / "organisms" / "broken.yaml", "name: broken\nrefrence: {}\n")
    broken, good = found(place, "organisms")
    assert (broken.level, good.level) == (Level.FAIL, Level.OK)
    assert "unknown key" in broken.message
    assert len(found(place, "host index")) == 1


def test_every_mistake_and_doubt_of_organism_files_is_told_with_its_line(place: Path) -> None:
    text = "name: broken\nrefrence: {}\nreference: {fasta: absent.fasta}\nmetadata: [{name: date, type: dat}]\n"
    write(place / "organisms" / "broken.yaml", text)
    digest = hashlib.sha256((place / "host-index" / "human.idx").read_bytes()).hexdigest()
    organism(place, "risky", VIRUS, f"{{index: human, sha256: '{digest}', maxHumanFraction: 1}}")
    write(place / "organisms" / "forgotten.yml", "name: forgotten\n")
    told = found(place, "organisms")
    wrong = [each.message.split(": ")[:2] for each in told if each.level is Level.FAIL]
    assert sorted(wrong) == [
        ["broken.yaml:2", "refrence"],
        ["broken.yaml:3", "reference.fasta"],
        ["broken.yaml:4", "metadata[0].type"],
    ]
    doubts = {each.message.split(":")[0]: each.message for each in told if each.level is Level.WARN}
    assert "no share of human reads is ever too much" in doubts["risky.yaml"]
    assert "is not loaded" in doubts["forgotten.yml"]
    assert [each.message.split(":")[0] for each in told if each.level is Level.OK] == ["good", "risky"]


def test_a_folder_without_organisms_fails(place: Path) -> None:
    for file in (place / "organisms").iterdir():
        file.unlink()
    (told,) = found(place, "organisms")
    assert told.level is Level.FAIL
    assert "no organism files" in told.message
    assert "READVAULT_ORGANISMS_DIR" in (told.advice or "")


def test_little_scratch_warns_and_none_fails(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for little, none, level in ((0, 0, Level.OK), (1 << 60, 0, Level.WARN), (1 << 60, 1 << 60, Level.FAIL)):
        monkeypatch.setattr(machine, "LITTLE_SCRATCH", little)
        monkeypatch.setattr(machine, "NO_SCRATCH", none)
        assert [finding.level for finding in found(place, "scratch")] == [level]


def test_a_probe_that_breaks_is_a_failure_and_the_others_go_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Settings) -> None:
        raise RuntimeError("a secret path")

    monkeypatch.setitem(examination.PROBES, "tools", broken)
    first, *others = examine(settings(place))
    assert (first.level, first.message) == (Level.FAIL, "the probe broke: RuntimeError")
    assert others


@pytest.mark.parametrize("healthy", [True, False])
def test_the_command_ends_with_one_when_anything_fails(
    place: Path, monkeypatch: pytest.MonkeyPatch, healthy: bool
) -> None:
    if not healthy:
        (place / "host-index" / "human.idx").unlink()
    monkeypatch.setattr(bootstrap, "settings", lambda: settings(place))
    shown = CliRunner().invoke(app, ["doctor"])
    machine = CliRunner().invoke(app, ["doctor", "--json"])
    assert shown.exit_code == machine.exit_code == (0 if healthy else 1)
    findings = json.loads(machine.output)
    assert len(shown.output.splitlines()) == len(findings)
    assert any(finding["level"] == "fail" for finding in findings) is not healthy
    assert ("-> Until then nothing of good is processed" in shown.output) is not healthy
