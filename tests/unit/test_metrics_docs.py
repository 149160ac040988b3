"""Every metric is documented, and alerts watch metrics and labels that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from readvault import counters
from readvault.services.housekeeping.figures import FIGURES

ROOT = Path(__file__).parents[2]
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
FORBIDDEN = re.compile(r"user|submitter|name|file|accession|url|path|key|group_id|email")


def _counted() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for metric in vars(counters).values():
        if isinstance(metric, MetricWrapperBase):
            yield metric._name, metric._type, tuple(metric._labelnames)


def _series() -> dict[str, set[str]]:
    """What Prometheus sees: series and their labels."""
    series = {name: set(labels) for name, (_, labels) in FIGURES.items()}
    for name, kind, labels in _counted():
        series |= {name + suffix: set(labels) | ({"le"} if kind == "histogram" else set()) for suffix in SUFFIXES[kind]}
    return series


def _rules() -> list[dict[str, str]]:
    content = yaml.safe_load((ROOT / "deployments" / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))
    return [rule for group in content["groups"] for rule in group["rules"]]


def test_every_metric_is_documented_with_its_labels() -> None:
    text = (ROOT / "docs" / "maintainers.md").read_text(encoding="utf-8")
    told = {name: labels for name, (_, labels) in FIGURES.items()}
    told |= {name + ("_total" if kind == "counter" else ""): labels for name, kind, labels in _counted()}
    assert len(told) > 25
    assert [name for name, labels in told.items() if f"| `{name}` | {', '.join(labels) or '–'} |" not in text] == []
    documented = set(re.findall(r"^\| `(readvault_\w+)`", text, re.MULTILINE))
    assert documented == set(told)


def test_no_label_could_name_a_person_a_file_or_an_entry() -> None:
    assert [name for name, labels in _series().items() if any(FORBIDDEN.search(label) for label in labels)] == []


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: rule["alert"])
def test_each_alert_watches_what_there_is(rule: dict[str, str]) -> None:
    series = _series()
    named = re.findall(r"(readvault_\w+)(?:\{([^}]*)\})?", rule["expr"])
    assert named
    for name, selector in named:
        assert name in series
        assert set(re.findall(r"(\w+)\s*[!=]", selector)) <= series[name]
    by = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in labels.split(",")}
    of_all = set().union(*(series[name] for name, _ in named))
    assert by <= of_all
    assert set(re.findall(r"\$labels\.(\w+)", str(rule))) <= (by or of_all)
