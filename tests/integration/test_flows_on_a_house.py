"""Each flow that a form or a schedule starts, on a real worker's house: what it asks for is there, and it ends well."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from readvault.adapters.prefect_automations import ENDS, described_automations
from readvault.adapters.prefect_setup import watched
from readvault.config import PrefectSettings, Settings
from readvault.domain.errors import LeaseLost
from readvault.domain.status import JobState
from readvault.services.house import House
from readvault.worker.house import WorkerHouse
from tasks.forms import CollectGarbage, Entry, EntryAgain, Recover, Summarize
from tests.integration.services.life import released
from tests.integration.services.scenes import ERROR, change, entry, group, processed

ROOT = Path(__file__).parents[2]
STATES = {"Completed", "Failed", "Cancelled"}


class Shown:
    """What would have gone to Prefect."""

    def __init__(self) -> None:
        self.artifacts: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []


@pytest.fixture
def shown(house: House, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """The flows' worker is one of this house, and Prefect is a note of what it was told."""
    worker, told = WorkerHouse(house), Shown()
    modules = [importlib.import_module(f"flows.{path.stem}") for path in (ROOT / "flows").glob("[a-z]*.py")]
    modules += [importlib.import_module(f"tasks.{name}") for name in ("asked", "endings")]
    for module in modules:
        monkeypatch.setattr(module, "worker_house", lambda: worker)
    monkeypatch.setattr(importlib.import_module("tasks.asked"), "get_client", _unreachable)
    artifacts, alarms = importlib.import_module("tasks.artifacts"), importlib.import_module("tasks.alarms")
    for kind, content in (("table", "table"), ("markdown", "markdown")):

        def create(key: str, _content: str = content, **given: Any) -> None:
            told.artifacts[key] = given[_content]

        monkeypatch.setattr(artifacts, f"create_{kind}_artifact", create)
    monkeypatch.setattr(alarms, "emit_event", lambda event, **given: told.events.append({"event": event, **given}))
    return told


def _unreachable(**_: Any) -> Any:
    raise RuntimeError("Failed to reach API")


def _run(name: str, **parameters: Any) -> Any:
    module = importlib.import_module(f"flows.{name}")
    return getattr(module, "screen" if name == "screen_released" else name).fn(**parameters)


def test_housekeeping_flows_end_well_and_show_counts(house: House, shown: Shown) -> None:
    group_id = group(house, "alice")
    processed(house, group_id, errors=(ERROR,))
    for name, parameters, ends in (
        ("recover", {"chosen": Recover()}, "Completed"),
        ("summarize", {"chosen": Summarize(days_ago=0)}, "Completed"),
        ("collect_garbage", {"chosen": CollectGarbage()}, "Counted"),
        ("verify_integrity", {}, "Completed"),
        ("screen_released", {}, "Completed"),
        ("reprocess", {}, "Completed"),
        ("export_silo", {}, "Completed"),
    ):
        state = _run(name, **parameters)
        assert (state.name, state.is_completed()) == (ends, True), f"{name}: {state.message}"
    assert shown.artifacts.keys() >= {"recover", "daily-summary", "collect-garbage", "export-silo-sars-cov-2"}
    assert "| noReads | 1 |" in shown.artifacts["daily-summary"]
    assert "secret" not in str(shown.artifacts)


def test_an_old_queue_is_told_in_counts(house: House, shown: Shown) -> None:
    _, job_id = entry(house, group(house, "alice"))
    _run("recover", chosen=Recover())
    assert shown.events == []
    change(house, job_id, not_before=1.0)
    _run("recover", chosen=Recover(alarm_after_minutes=30))
    [told] = shown.events
    assert told["event"] == "readvault.queue.old"
    assert set(told["payload"]) == {"queued", "due", "running", "needs_attention", "oldest_minutes"}
    assert all(isinstance(value, int) for value in told["payload"].values())


def test_a_release_goes_on_by_the_name_of_its_entry(house: House, shown: Shown) -> None:
    name = released(house, group(house, "alice"))
    asked = Entry(accession_version=f" {name} ")
    assert _run("release", entry=asked).message == "The release is complete."
    assert _run("release", entry=asked).name == "NothingToDo"
    assert _run("repair", entry=asked).name == "NothingToDo"
    assert _run("register_external", entry=asked).name == "NothingToDo"


def test_a_form_that_names_nothing_fails_in_words_of_ours(shown: Shown) -> None:
    state = _run("process_submission")
    assert (state.name, state.message.partition(":")[0]) == ("Failed", "BadRequest")
    unknown = EntryAgain(accession_version="LOC_999999Z.1", reason="new primers")
    assert "There is no accession version" in _run("process_submission", entry=unknown).message


def test_the_last_attempt_of_a_job_needs_attention(house: House, shown: Shown) -> None:
    from tasks.endings import failed

    _, job_id = entry(house, group(house, "alice"))
    assert failed(ValueError("secret"), job_id).name == "Failed"
    change(house, job_id, state=JobState.NEEDS_ATTENTION.value)
    state = failed(ValueError("secret"), job_id)
    assert (state.name, state.type.value, state.message) == ("NeedsAttention", "FAILED", "ValueError")


def test_a_job_that_needs_attention_is_one_alarm_whatever_earlier_runs_of_it_do(
    house: House, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import endings

    _, job_id = entry(house, group(house, "alice"))
    change(house, job_id, state=JobState.NEEDS_ATTENTION.value, run_id="the last one")
    lost = LeaseLost("job 1 is no longer held by attempt 1")
    monkeypatch.setattr(endings.runtime.flow_run, "id", "an earlier one", raising=False)
    assert endings.failed(lost, job_id).name == "HandedBack"
    monkeypatch.setattr(endings.runtime.flow_run, "id", "the last one", raising=False)
    assert endings.failed(lost, job_id).name == "NeedsAttention", "its worker was taken for dead once too often"


@pytest.mark.parametrize(
    "name", ["", "https://s3/secret?X-Amz-Signature=1", "LOC_1", "LOC_1.0", "a.1\nb", "x" * 70 + ".1"]
)
def test_a_form_takes_names_of_entries_only(name: str) -> None:
    with pytest.raises(ValidationError):
        Entry(accession_version=name)


def _named_states() -> set[str]:
    """The names of states that flows and tasks end in."""
    found = set()
    for path in (*(ROOT / "flows").glob("*.py"), ROOT / "tasks" / "endings.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in STATES:
                found |= {
                    word.value for key in node.keywords if key.arg == "name"
                    for word in ast.walk(key.value) if isinstance(word, ast.Constant)
                }  # fmt: skip
    return {str(name) for name in found} | {"HasErrors", "HasWarnings"}


def test_alarms_and_documentation_know_every_state_of_ours() -> None:
    text = (ROOT / "docs" / "maintainers.md").read_text(encoding="utf-8")
    assert {"NeedsAttention", "Damage", "Requested", "HandedBack", "NothingToDo"} <= _named_states() <= set(ENDS)
    assert [name for name in sorted(_named_states()) if f"`{name}`" not in text] == []


def test_every_alarm_is_documented_and_waits_for_runs_of_our_pool() -> None:
    text = (ROOT / "docs" / "maintainers.md").read_text(encoding="utf-8")
    settings = Settings(prefect=PrefectSettings(work_pool="mine", huge_work_pool="mine-huge"))
    pools = watched(settings, ["a stock one", "mine"])
    assert pools == ["mine", "mine-huge", "a stock one"]
    alarms = described_automations(pools, stuck_hours=6, standstill_minutes=30)
    for alarm in alarms:
        assert f"`{alarm.name}`" in text
        ours = alarm.trigger.model_dump()["match_related"]
        assert "queue" in alarm.name or ours["prefect.resource.name"] == pools
    assert len({alarm.name for alarm in alarms}) == len(alarms) == 6
