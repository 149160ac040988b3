"""`organisms diff` says which changes need a raised pipeline version."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from readvault.cli.main import app
from readvault.config import load_organism
from readvault.domain.errors import NotReady
from readvault.organisms.differences import Effect, difference
from readvault.organisms.effective import by_content

START = "name: a\nreference: {fasta: reference.fasta}\n"
OFF = "cells without any person"


def differing(
    folder: Path, before: str, after: str, *, off: str | None = OFF
) -> tuple[list[tuple[str, Effect]], tuple[str, ...]]:
    """What differs between two organisms with these keys, and which version should have been raised."""
    (folder / "reference.fasta").write_text(">x\nACGT\n")
    sides = []
    for number, keys in enumerate((before, after)):
        path = folder / f"{number}.yaml"
        content = yaml.safe_load(START + keys)
        content.setdefault("pipeline", {}).setdefault("dehumanize", {}).setdefault("off", off)
        path.write_text(yaml.safe_dump(content))
        sides.append({"a": by_content(load_organism(path))})
    found = difference(*sides)
    return [(change.key, change.effect) for change in found.changes], found.unraised


@pytest.mark.parametrize(
    ("before", "after", "key", "effect"),
    [
        ("", "pipeline: {platforms: {ILLUMINA: {minDepth: 11}}}", "pipeline.platforms.ILLUMINA.minDepth",
         Effect.RESULTS),
        ("", "pipeline: {qc: {onError: label}}", "pipeline.qc.onError", Effect.RESULTS),
        ("", "sampleType: wastewater", "sampleType", Effect.RESULTS),
        ("", "submission: {consensusSequences: required}", "submission.consensusSequences", Effect.RESULTS),
        ("", "submission: {consensusSequences: forbidden}", "submission.consensusSequences", Effect.SUBMISSIONS),
        ("", "submission: {files: {rawReads: {maxFiles: 3}}}", "submission.files.rawReads.maxFiles",
         Effect.SUBMISSIONS),
        ("metadata: [{name: x}]", "metadata: [{name: x, required: true}]", "metadata[x].required",
         Effect.SUBMISSIONS),
        ("metadata: [{name: x}]", "metadata: [{name: x, guidance: Say it}]", "metadata[x].guidance", Effect.SHOWN),
        ("", "review: {requireDigest: true}", "review.requireDigest", Effect.AT_ONCE),
        ("", "pipeline: {dehumanize: {originals: {shredAfterDays: 9}}}",
         "pipeline.dehumanize.originals.shredAfterDays", Effect.AT_ONCE),
        ("", "pipeline: {version: 2}", "pipeline.version", Effect.VERSION),
    ],
)  # fmt: skip
def test_each_change_has_its_effect(tmp_path: Path, before: str, after: str, key: str, effect: Effect) -> None:
    changes, unraised = differing(tmp_path, before, after)
    assert (key, effect) in changes
    assert unraised == (("a",) if effect is Effect.RESULTS else ())


def test_defaults_that_are_written_out_are_no_change(tmp_path: Path) -> None:
    said = "pipeline: {version: 1, platforms: {ILLUMINA: {minDepth: 10}}, qc: default}"
    assert differing(tmp_path, "", said) == ([], ())


def test_what_could_not_be_processed_has_no_results_that_change(tmp_path: Path) -> None:
    """So the first index that is pinned needs no raised version."""
    pinned = f"pipeline: {{dehumanize: {{index: host, sha256: '{'0' * 64}'}}}}"
    changes, unraised = differing(tmp_path, "", pinned, off=None)
    assert (("pipeline.dehumanize.index", Effect.RESULTS) in changes, unraised) == (True, ())


def test_a_raised_version_is_enough(tmp_path: Path) -> None:
    _, unraised = differing(tmp_path, "", "pipeline: {version: 2, qc: {onError: label}}")
    assert unraised == ()


def test_another_content_of_a_file_is_a_change(tmp_path: Path) -> None:
    folders = [tmp_path / "old", tmp_path / "new"]
    for folder, bases in zip(folders, ("ACGT", "ACGA"), strict=True):
        folder.mkdir()
        (folder / "reference.fasta").write_text(f">x\n{bases}\n")
        (folder / "a.yaml").write_text(START + f"pipeline: {{dehumanize: {{off: {OFF}}}}}\n")
    result = CliRunner().invoke(app, ["organisms", "diff", str(folders[1]), "--against", str(folders[0])])
    assert result.exit_code == 1
    assert "reference.fasta" in result.stdout
    assert "pipeline.version was not raised" in result.stdout
    same = CliRunner().invoke(app, ["organisms", "diff", str(folders[1]), "--against", str(folders[1])])
    assert (same.exit_code, same.stdout) == (0, "no difference\n")


def test_a_running_instance_is_asked_with_a_maintainers_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reference.fasta").write_text(">x\nACGT\n")
    (tmp_path / "a.yaml").write_text(START)
    running = by_content(load_organism(tmp_path / "a.yaml"))
    running["displayName"] = "Another"
    answers = {"right": (200, {"organisms": {"a": {"configuration": running}, "demo": {"configuration": running}}}),
               "wrong": (403, {}), "odd": (200, {})}  # fmt: skip

    def get(url: str, *, headers: dict[str, str], timeout: float) -> httpx.Response:
        assert url == "http://api.example.org/admin/organisms"
        status, body = answers[headers["Authorization"].removeprefix("Bearer ")]
        return httpx.Response(status, json=body, request=httpx.Request("GET", url))

    monkeypatch.setattr(httpx, "get", get)
    arguments = ["organisms", "diff", str(tmp_path), "--against", "http://api.example.org/", "--json"]
    result = CliRunner().invoke(app, arguments, env={"READVAULT_TOKEN": "right"})
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["removed"]) == (0, [])
    assert [(each["key"], each["before"]) for each in answer["changes"]] == [("displayName", "Another")]
    for token, words in {"wrong": "403", "odd": "no organisms", "": "set READVAULT_TOKEN"}.items():
        fault = CliRunner().invoke(app, arguments, env={"READVAULT_TOKEN": token}).exception
        assert isinstance(fault, NotReady)
        assert words in str(fault)
