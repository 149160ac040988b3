"""The instance's figures for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from readvault.api.dependencies import UserDep
from readvault.counters import REGISTRY
from readvault.services.housekeeping.figures import FIGURES, Figure

router = APIRouter(tags=["instance"])
_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


class _Told(Collector):
    """Figures as Prometheus takes them."""

    def __init__(self, figures: Iterable[Figure]) -> None:
        self._figures = tuple(figures)

    def collect(self) -> Iterator[Metric]:
        families = {name: GaugeMetricFamily(name, text, labels=labels) for name, (text, labels) in FIGURES.items()}
        for figure in self._figures:
            families[figure.name].add_metric(figure.labels, figure.value)
        yield from families.values()


@router.get("/metrics", response_class=Response, responses=_TEXT)
def metrics(request: Request, user: UserDep) -> Response:
    """How the instance stands, in Prometheus's text: for maintainers, and for tokens with the scope `metrics`."""
    registry = CollectorRegistry()
    registry.register(_Told(request.app.state.figures.now(user)))
    return Response(generate_latest(registry) + generate_latest(REGISTRY), media_type=CONTENT_TYPE_PLAIN_0_0_4)
