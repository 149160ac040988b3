"""The flow `import-files` on a worker's house: it pulls, shows figures, and names nothing of the submitter."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from prefect import runtime

from readvault.domain.pulls import PullState
from readvault.services.house import House
from readvault.services.pulls import ending, ranges
from readvault.worker.house import WorkerHouse
from tests.foreign import Authority
from tests.houses import ALICE, group_of
from tests.integration.services.pull_scenes import lab


def test_a_run_pulls_one_request_and_shows_figures_alone(
    house: House, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "PAUSES", ())
    shown: dict[str, Any] = {}

    def create(key: str, table: Any, **_: Any) -> None:
        shown[key] = table

    monkeypatch.setattr(importlib.import_module("tasks.artifacts"), "create_table_artifact", create)
    monkeypatch.setattr(runtime.flow_run, "run_count", 1, raising=False)
    flow = importlib.import_module("flows.import_files")
    with lab(house, Authority(tmp_path_factory.mktemp("authority")), group_of(house, ALICE)) as scene:
        worker = WorkerHouse(scene.house)
        for module in (flow, importlib.import_module("tasks.asked"), importlib.import_module("tasks.endings")):
            monkeypatch.setattr(module, "worker_house", lambda: worker)
        scene.shop.objects["/b/canary.fastq"] = b"canary"
        pull = scene.asked("/b/canary.fastq", "/b/missing.fastq").pull
        job_id = scene.job().id
        done = flow.import_files.fn(job_id=job_id)
        assert (done.name, done.message) == ("Completed", "1 files are pulled, 1 sources failed.")
        figures = {row["figure"]: row["value"] for row in shown["import"]}
        assert figures == {"files": 1, "failed": 1, "bytes": 6}
        assert scene.seen(pull.id).state is PullState.DONE
        assert flow.import_files.fn(job_id=job_id).name == "NothingToDo"
        assert flow.import_files.fn().name == "NothingToDo"
        cancelled = scene.asked("/b/canary.fastq").pull
        ending.cancel(scene.house, ALICE, cancelled.id)
        assert flow.import_files.fn(job_id=scene.job().id).name == "NothingToDo"
        scene.shop.odd = lambda handler, _: handler.say(503, b"secret words") or True  # type: ignore[attr-defined]
        scene.asked("/b/canary.fastq")
        failed = flow.import_files.fn(job_id=scene.job().id)
        assert (failed.name, failed.message) == (
            "Failed",
            "ProcessingFailure: import: some sources of a pull can't be reached",
        )
