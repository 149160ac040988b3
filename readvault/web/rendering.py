"""HTML from templates: everything that is not ours is escaped, and nothing but our own files may run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from readvault import __version__

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Set on every page; the middleware adds nosniff, no-store and the rest."""
FRACTIONS = frozenset({"humanFraction", "breadthOfCoverage", "mappedFraction"})
WORDS = {
    "RECEIVED": "received",
    "IN_PROCESSING": "in processing",
    "PROCESSED": "to review",
    "APPROVED_FOR_RELEASE": "released",
    "NO_ISSUES": "no issues",
    "HAS_WARNINGS": "warnings",
    "HAS_ERRORS": "errors",
    "totalReads": "reads",
    "mappedReads": "mapped",
    "humanFraction": "human",
    "depthOfCoverage": "depth",
    "breadthOfCoverage": "breadth",
    "primerScheme": "primer scheme",
    "consensusSource": "consensus from",
    "qualityControlDetermination": "quality control",
    "qualityControlIssues": "quality issues",
    "droppedAmplicons": "dropped amplicons",
    "processingResult": "result",
    "consensus": "segments with a consensus",
    "screened": "screened for human reads",
    "screenedForHumanReads": "screened for human reads",
}


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page from `templates/<template>.html`."""
    html = _environment.get_template(f"{template}.html").render(version=__version__, **values)
    return HTMLResponse(html, status, headers=dict(HEADERS))


def moment(seconds: float | None) -> str:
    """A time for people: `2026-11-22 21:30 UTC`."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def size(count: int | None) -> str:
    """A number of bytes for people: `1.2 GB`."""
    if count is None:
        return ""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")


def age(seconds: float | None) -> str:
    """A time that went by, for people: `12 min`."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def figure(value: Any, name: str = "") -> str:
    """A figure for people: fractions in percent, large numbers with thousands."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if name in FRACTIONS:
        return f"{value:.2%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def word(code: str | None) -> str:
    """What people call a status, a result or a metric."""
    return "" if code is None else WORDS.get(code, code)


def _made() -> Environment:
    environment = Environment(
        loader=PackageLoader("readvault.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"moment": moment, "size": size, "figure": figure, "word": word, "age": age}
    return environment


_environment = _made()
