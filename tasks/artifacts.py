"""What a step found, as a table in Prefect's UI: figures only.

Whoever has Prefect's password sees artifacts, so nothing of a submitter enters them: no label, no
metadata, no text of an annotation. What is shown is chosen by name and type, so that a new field of
a report stays out until somebody lets it in.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from readvault import bootstrap
from readvault.domain.reports import CheckReport, ConsensusReport, RegisterReport, Report

logger = logging.getLogger(__name__)

_TEXTS = frozenset(
    {"platform", "layout", "preset", "reference_sha256", "index_sha256", "processing_result", "manifest_digest"}
)
_OF_DIGEST = 16
"""So many characters of a digest tell it apart, and fit into a column."""
Row = dict[str, str | float | int | bool | None]


def show(step: str, report: Report) -> None:
    """Show a step's figures beside its task run."""
    _create(step, rows(report))


class Figures:
    """What the steps of a job found, in one table: a request to Prefect for each step would cost more than a small job.

    Of a job that takes long the figures are shown while it goes on.
    """

    KEY = "figures"
    EVERY = 10.0
    """Seconds for which figures of a job that goes on may wait."""

    def __init__(self) -> None:
        self._table: list[Row] = []
        self._about = "What the steps found."
        self._shown = 0
        self._since = time.monotonic()

    def add(self, step: str, report: Report) -> None:
        """Take the figures of a step; shown at once when the last ones were shown a while ago."""
        self._table += [{"step": step, **row} for row in rows(report)]
        if isinstance(report, RegisterReport):
            self._about = f"What the steps found in {_linked(report)}."
        if time.monotonic() - self._since >= self.EVERY:
            self.show()

    def show(self) -> None:
        """Show all figures so far, unless they are shown already."""
        if len(self._table) > self._shown:
            self._shown, self._since = len(self._table), time.monotonic()
            _create(self.KEY, self._table, self._about)


def _linked(report: RegisterReport) -> str:
    """The accession version, with a link to its page, which asks who comes."""
    accession, _, version = report.accession_version.partition(".")
    if not report.organism:
        return report.accession_version
    pages = f"{bootstrap.settings().public_url.rstrip('/')}/web/organisms"
    return f"[{report.accession_version}]({pages}/{report.organism}/entries/{accession}/{version})"


def _create(key: str, table: list[Row], description: str | None = None) -> None:
    """A UI that can't be reached harms no job."""
    try:
        create_table_artifact(key=key, table=table, description=description or f"What `{key}` found.")
    except Exception as fault:
        logger.warning("the figures of a step can't be shown: %s", type(fault).__name__)


def show_text(key: str, text: str, description: str) -> None:
    """Show Markdown; Prefect's page of the key shows the ones before it, too."""
    try:
        create_markdown_artifact(key=key, markdown=text, description=description)
    except Exception as fault:
        logger.warning("a text can't be shown: %s", type(fault).__name__)


def show_counts(key: str, counts: Mapping[str, int]) -> None:
    """Show how many of each thing a housekeeping run changed."""
    _create(key, [{"figure": name, "value": count} for name, count in counts.items()])


def rows(report: Report) -> list[Row]:
    """The figures of a report, one a row; of a consensus a row a segment too, of a check a row a rule."""
    values = {field.name: getattr(report, field.name) for field in fields(report)}
    table: list[Row] = [{"figure": _words(name), "value": _shown(name, value)} for name, value in _plain(values)]
    if isinstance(report, ConsensusReport):
        for segment in report.segments:
            table.append({"figure": f"{segment.segment}: mean depth", "value": round(segment.mean_depth, 2)})
            table.append({"figure": f"{segment.segment}: breadth", "value": round(segment.breadth, 4)})
    if isinstance(report, CheckReport):
        for rule in report.verdicts:
            value = round(rule.value, 4)
            table.append({"figure": rule.metric, "value": value, "limit": rule.limit, "verdict": rule.verdict})
    return table


def _plain(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    counted = {name: len(values[name]) for name in ("errors", "warnings") if name in values}
    return [(name, value) for name, value in {**values, **counted}.items() if _may_be_shown(name, value)]


def _may_be_shown(name: str, value: object) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and name in _TEXTS)


def _shown(name: str, value: float | str) -> float | str:
    if isinstance(value, str):
        return f"{value[:_OF_DIGEST]}…" if name.endswith(("sha256", "digest")) else str(value)
    return round(value, 4) if isinstance(value, float) else value


def _words(name: str) -> str:
    return name.replace("_", " ").replace("sha256", "SHA-256")
