"""Each step of the pipeline as a Prefect task, in a chain, so that the graph of a run tells its story.

The body of a step decides how it ended; Prefect only watches. Therefore a step's error crosses
Prefect as a state with a text of ours, never as an exception: Prefect would log its traceback,
and the text of a stranger's error may quote a file name or a read. And if Prefect can't be
reached in the middle of a job, the job goes on without being watched.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from prefect import Task, allow_failure
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed

from readvault.domain.errors import BytesLost, ChildDied, InvalidSubmission, ProcessingFailure, ReadvaultError
from readvault.domain.reports import Report
from readvault.pipeline import STEPS, Body
from tasks import artifacts
from tasks.policy import FAILED, POLICIES, REFUSED, may_pass

logger = logging.getLogger(__name__)


class StepTasks:
    """Wraps the steps of one job in tasks, each after the one before (`around` of `pipeline.run`)."""

    def __init__(self) -> None:
        self._before: list[Any] = []
        self._figures = artifacts.Figures()

    def __call__(self, step: str, body: Body) -> Report:
        """Do a step as a task; its report, or the error that its body raised."""
        outcome = _Outcome(step, body)
        try:
            state = _task(step)(outcome, wait_for=self._before, return_state=True)
            self._before = [allow_failure(state)]
        except Exception as fault:
            logger.warning("Prefect lost sight of the step %s (%s)", step, type(fault).__name__)
        try:
            report = outcome.settled()
        except InvalidSubmission:  # it will be registered, so the job goes on
            raise
        except Exception:
            self._figures.show()
            raise
        self._figures.add(step, report)
        if step == STEPS[-1]:
            self._figures.show()
        return report


class _Outcome:
    """How the body of a step ended, whatever became of Prefect's record of it."""

    def __init__(self, step: str, body: Body) -> None:
        self.step = step
        self._body = body
        self._report: Report | None = None
        self._error: Exception | None = None

    def attempt(self) -> Report | None:
        """Do the body once more; None when it raised."""
        self._report, self._error = None, None
        try:
            self._report = self._body()
        except Exception as error:
            self._error = error
        return self._report

    def settled(self) -> Report:
        """The report or the error of the last try; if there was none, this is it."""
        if self._report is None and self._error is None:
            self.attempt()
        if self._error is not None:
            raise self._error
        assert self._report is not None
        return self._report

    def state(self) -> State[Any]:
        """The error as people may read it in Prefect's UI."""
        error = self._error
        if isinstance(error, InvalidSubmission):
            reasons = Counter(annotation.reason.value for annotation in error.annotations)
            told = ", ".join(f"{reason} ({count})" for reason, count in sorted(reasons.items()))
            return Failed(name=REFUSED, message=f"The submission has faults: {told}")
        if isinstance(error, ProcessingFailure) and not isinstance(error, BytesLost | ChildDied):
            return Failed(name=FAILED, message=str(error))
        told = str(error) if isinstance(error, ReadvaultError) else f"{self.step}: {type(error).__name__}"
        return Failed(name=type(error).__name__, message=told)


def _do(outcome: _Outcome) -> Any:
    return outcome.state() if outcome.attempt() is None else None


def _task(step: str) -> Task[..., Any]:
    policy = POLICIES[step]
    return Task(
        _do,
        name=step,
        task_run_name=step,
        retries=len(policy.retry_after),
        retry_delay_seconds=list(policy.retry_after) or None,
        retry_condition_fn=may_pass,
        cache_policy=NO_CACHE,
        persist_result=False,
        log_prints=False,
    )
