"""Compiled functions work where nothing can be cached, too."""

from __future__ import annotations

from typing import Any

import pytest

from readvault.reads import native


def answer() -> int:
    """A function to compile."""
    return 42


def without(monkeypatch: pytest.MonkeyPatch, fault: str) -> list[dict[str, Any]]:
    """numba, but it can't cache; what it was asked for."""
    asked: list[dict[str, Any]] = []

    def njit(signature: str, **options: Any) -> Any:
        asked.append(options)
        if options.get("cache"):
            raise RuntimeError(fault)
        return lambda function: function

    monkeypatch.setattr(native, "njit", njit)
    return asked


def test_a_function_that_cannot_be_cached_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = without(monkeypatch, "cannot cache function 'answer': no locator available")
    assert native.compiled("int64()")(answer) is answer
    assert [options.get("cache", False) for options in asked] == [True, False]
    assert all(options["nogil"] for options in asked), "other threads go on meanwhile"


def test_another_fault_of_the_compiler_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "no such type")
    with pytest.raises(RuntimeError, match="no such type"):
        native.compiled("int64()")(answer)
