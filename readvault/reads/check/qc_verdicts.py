"""What a rule of quality says of a figure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

from readvault.domain.organism import QcRule
from readvault.domain.reports import QcVerdict

_LIMIT = re.compile(r"\s*([<>=]+)\s*([0-9.]+)\s*(%?)\s*")
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}


def judge(rule: QcRule, value: float) -> QcVerdict:
    """What a rule says of a value: `error`, else `warn`, else `pass`."""
    for verdict, limit in (("error", rule.error), ("warn", rule.warn)):
        if limit is not None and _exceeds(value, limit):
            message = rule.message.replace("{value}", _shown(rule.metric, value)).replace("{limit}", limit)
            return QcVerdict(rule.metric, value, limit, verdict, message)
    limits = [f"warn {rule.warn}"] * (rule.warn is not None) + [f"error {rule.error}"] * (rule.error is not None)
    return QcVerdict(rule.metric, value, ", ".join(limits), "pass", "")


def _exceeds(value: float, limit: str) -> bool:
    match = _LIMIT.fullmatch(limit)
    assert match is not None, "the organism's file was checked"
    return _COMPARISONS[match[1]](value, float(match[2]) / (100 if match[3] else 1))


def _shown(metric: str, value: float) -> str:
    if metric.endswith("Fraction") or metric.startswith("breadth"):
        return f"{value:.2%}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
