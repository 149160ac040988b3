"""Flow, CLI and inline orchestrator tell the same story; Prefect sees its steps and nothing of a submitter."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from readvault import pipeline
from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import InvalidSubmission, LeaseLost, NurseryDied, ProcessingFailure, WorkerStops
from readvault.domain.reports import CheckReport, FetchReport, QcVerdict, RegisterReport, Report
from readvault.pipeline import Hands
from readvault.ports import Delivery, RunState

REPOSITORY = Path(__file__).resolve().parents[2]
SECRET = "patient-7_R1.fastq"


class Job:
    """A job whose steps only say that they were done; `fault` is raised in the step of that name."""

    def __init__(self, has_reads: bool = True, **faults: Exception) -> None:
        self.has_reads = has_reads
        self.done: list[str] = []
        self._faults = faults

    def run(self, step: str) -> Report:
        if step in self._faults:
            raise self._faults[step]
        self.done.append(step)
        return FetchReport(files=1, bytes=1)

    def result(self) -> object:
        return object()

    def fetch(self) -> Report:
        return self.run("fetch")

    @contextmanager
    def hands(self) -> Iterator[Hands]:
        yield self

    def stage(self, result: object) -> Report:
        return self.run("stage")

    def register(self, result: object, refusals: Iterable[Annotation]) -> Report:
        self.run("register")
        return RegisterReport("LOC_000001Y.1", "HAS_ERRORS" if tuple(refusals) else "NO_ISSUES", "0" * 64)


def test_the_steps_happen_in_the_one_order() -> None:
    job = Job()
    pipeline.run(job)
    assert tuple(job.done) == pipeline.STEPS


def test_an_entry_without_reads_is_only_checked() -> None:
    job = Job(has_reads=False)
    pipeline.run(job)
    assert job.done == ["fetch", "check", "stage", "register"]


def test_a_refused_submission_is_registered_and_nothing_of_it_is_staged() -> None:
    job = Job(validate=InvalidSubmission([Annotation(Reason.NO_READS, "none")]))
    report = pipeline.run(job)
    assert job.done == ["fetch", "register"]
    assert isinstance(report, RegisterReport)
    assert report.processing_result == "HAS_ERRORS"


def test_every_step_has_a_policy_and_every_policy_a_step() -> None:
    from tasks.policy import POLICIES

    assert tuple(POLICIES) == pipeline.STEPS
    assert all(not POLICIES[step].retry_after for step in pipeline.LOCAL), "a dead child can't try again"


def test_the_inline_orchestrator_does_the_same_steps() -> None:
    from readvault.adapters.inline_orchestrator import InlineOrchestrator

    job = Job()
    orchestrator = InlineOrchestrator(lambda delivery: pipeline.run(job) and None, concurrency=1)
    run_id = orchestrator.deliver(Delivery("job", 1, "process-submission", "LOC_000001Y.1"))
    assert run_id == orchestrator.deliver(Delivery("job", 1, "process-submission", "LOC_000001Y.1"))
    while orchestrator.state_of(run_id or "") is not RunState.ENDED:
        pass
    orchestrator.stop()
    assert tuple(job.done) == pipeline.STEPS
    assert orchestrator.state_of(run_id or "") is RunState.ENDED
    assert orchestrator.state_of("of another process") is RunState.MISSING
    assert orchestrator.deliver(Delivery("job", 2, "process-submission", "LOC_000001Y.1")) is None


def test_a_job_that_fails_inline_harms_no_other() -> None:
    from readvault.adapters.inline_orchestrator import InlineOrchestrator

    done = []

    def run(delivery: Delivery) -> None:
        if delivery.job_id == "bad":
            raise ProcessingFailure("align", "a tool crashed")
        done.append(delivery.job_id)

    orchestrator = InlineOrchestrator(run, concurrency=1)
    runs = [orchestrator.deliver(Delivery(job_id, 1, "release", "LOC_000001Y.1")) for job_id in ("bad", "good")]
    while any(orchestrator.state_of(run or "") is not RunState.ENDED for run in runs):
        pass
    orchestrator.stop()
    assert done == ["good"]


def test_a_stock_engine_may_validate_the_defaults_too() -> None:
    """It fills them in first; the form of the UI asks for as much as before."""
    from flows.process_submission import process_submission
    from tasks.forms import NOT_ASKED, EntryAgain

    given = {"entry": NOT_ASKED, "job_id": "a job"}
    assert process_submission.validate_parameters(given) == given
    with pytest.raises(ValueError, match="reason"):
        EntryAgain.model_validate({"accession_version": "LOC_1.1"})


def test_every_deployment_leads_to_a_flow_of_that_module() -> None:
    """Prefect's own loader falls back to reading the source when an import fails; this one doesn't."""
    content = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())
    names = set()
    for deployment in content["deployments"]:
        module, _, name = deployment["entrypoint"].rpartition(".")
        flow = getattr(importlib.import_module(module), name)
        names.add(f"{flow.name}/{deployment['name']}")
    assert names == {
        "process-submission/default",
        "release/default",
        "register-external/default",
        "recover/regularly",
        "repair/default",
        "screen/default",
        "screen/regularly",
        "verify-integrity/regularly",
        "collect-garbage/regularly",
        "import-files/default",
        "export-silo/regularly",
        "reprocess/regularly",
        "summarize/daily",
    }


def test_every_field_of_a_form_says_what_it_is() -> None:
    """In Prefect's UI maintainers see the parameters, their descriptions and their bounds, and nothing else."""
    from prefect.utilities.callables import parameter_schema

    for deployment in yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]:
        module, _, name = deployment["entrypoint"].rpartition(".")
        schema = parameter_schema(getattr(importlib.import_module(module), name)).model_dump()
        fields = dict(schema["properties"])
        for model in schema.get("definitions", {}).values():
            if model.get("type") != "object":
                continue  # a choice of words
            assert model["additionalProperties"] is False
            assert [told["position"] for told in model["properties"].values()] == list(range(len(model["properties"])))
            fields |= model["properties"]
        nameless = [field for field, told in fields.items() if not told.get("description")]
        assert not nameless, f"{name}: {nameless}"


def test_flow_files_stay_stories() -> None:
    for path in (REPOSITORY / "flows").glob("*.py"):
        assert len(path.read_text().splitlines()) < 60, f"{path.name} is no story any more"


def test_artifacts_show_figures_and_nothing_of_a_submitter() -> None:
    from tasks.artifacts import rows

    fault = Annotation(Reason.LOW_DEPTH, f"{SECRET} is shallow", file=SECRET)
    verdict = QcVerdict(metric="depthOfCoverage", value=3.14159, limit=">= 10", verdict="error", message=SECRET)
    report = CheckReport((verdict,), {"country": SECRET}, errors=(fault,), warnings=(fault, fault))
    table = rows(report)
    assert SECRET not in str(table)
    assert {"figure": "errors", "value": 1} in table
    assert {"figure": "warnings", "value": 2} in table
    assert {"figure": "depthOfCoverage", "value": 3.1416, "limit": ">= 10", "verdict": "error"} in table


def test_a_new_text_of_a_report_stays_out_of_artifacts() -> None:
    from tasks.artifacts import rows

    shown = rows(RegisterReport(accession_version=SECRET, processing_result="NO_ISSUES", manifest_digest="0" * 64))
    assert {field.name for field in fields(RegisterReport)} >= {"accession_version"}
    assert SECRET not in str(shown)
    assert {"figure": "processing result", "value": "NO_ISSUES"} in shown


@pytest.mark.parametrize(
    ("fault", "kind", "name", "message"),
    [
        (ProcessingFailure("align", "a tool crashed"), "FAILED", "Failed", "ProcessingFailure: align: a tool crashed"),
        (ValueError(SECRET), "FAILED", "Failed", "ValueError"),
        (LeaseLost("job 1 is another's"), "CANCELLED", "HandedBack", "job 1 is another's"),
        (NurseryDied("the nursery ended"), "CANCELLED", "HandedBack", "the nursery ended"),
        (WorkerStops("this worker stops"), "CANCELLED", "HandedBack", "this worker stops"),
    ],
)
def test_a_flow_ends_in_words_that_people_may_read(fault: Exception, kind: str, name: str, message: str) -> None:
    from tasks.endings import failed

    state = failed(fault)
    assert (state.type.value, state.name, state.message) == (kind, name, message)


def test_a_step_goes_on_when_prefect_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect watches; it doesn't decide."""
    from tasks import artifacts, steps

    def unreachable(step: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            raise RuntimeError("Failed to reach API")

        return call

    monkeypatch.setattr(steps, "_task", unreachable)
    monkeypatch.setattr(artifacts, "create_table_artifact", unreachable("figures"))
    job = Job(align=ProcessingFailure("align", "a tool crashed"))
    with pytest.raises(ProcessingFailure, match="a tool crashed"):
        pipeline.run(job, around=steps.StepTasks())
    assert job.done == ["fetch", "validate", "dehumanize"]
