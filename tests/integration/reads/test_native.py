"""Compiled functions: loaded when first called, kept as long as they are up to date, usable where nothing is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from readvault.reads import native


def module(folder: Path, name: str, text: str, **known: Any) -> dict[str, Any]:
    """The names of a module of this text, whose file is in the folder."""
    path = folder / f"{name}.py"
    path.write_text(text)
    names: dict[str, Any] = {"__name__": name, "native": native, **known}
    exec(compile(text, str(path), "exec"), names)  # noqa: S102 - it is ours
    native._digest_of.cache_clear()
    return names


HELPER = "@native.inlined\ndef doubled(value):\n    return 2 * value\n"
CALLER = "def answer(value):\n    return doubled(value) + MORE\n"


@pytest.fixture
def loaders(monkeypatch: pytest.MonkeyPatch) -> dict[Any, Callable[[], object]]:
    """No compiled function but those of the test."""
    found: dict[Any, Callable[[], object]] = {}
    monkeypatch.setattr(native, "_loaders", found)
    return found


@pytest.fixture
def added(tmp_path: Path, loaders: dict[Any, Callable[[], object]], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A compiled function that adds one; it is kept nowhere."""
    njit = native.njit

    def nowhere(**options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(native, "njit", nowhere)
    text = "@native.compiled('int64(uint8[::1], int64)')\ndef added(data, value):\n    return data[0] + value\n"
    return module(tmp_path, "sums", text)["added"]


DATA = np.array([41], np.uint8)


def test_a_function_is_compiled_at_its_first_call_for_its_one_signature(added: Any) -> None:
    assert not added.overloads
    with pytest.raises(TypeError, match="takes"):
        added(DATA.astype(np.float64), 1)
    assert added(DATA, 1) == 42
    assert added(DATA, True) == 42
    assert len(added.overloads) == 1
    for wrong in ((DATA.astype(np.int64), 1), (DATA, "1"), (DATA,)):
        with pytest.raises(TypeError):
            added(*wrong)


@pytest.mark.parametrize("wrong", [(DATA.astype(np.int64), 1), (DATA, "1"), (DATA,), (np.zeros(4, np.uint8)[::2], 1)])
def test_a_first_call_with_other_types_is_refused_as_a_later_one(added: Any, wrong: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        added(*wrong)


def test_what_python_calls_can_be_loaded_before_the_first_call(added: Any) -> None:
    native.load_ahead()
    assert len(added.overloads) == 1


def test_what_is_kept_depends_on_all_that_was_compiled_into_it(tmp_path: Path) -> None:
    """numba by itself would go on using a helper of another file as it was."""

    def stamp(helper: str = HELPER, caller: str = CALLER, more: Any = 1) -> str:
        doubled = module(tmp_path, "helpers", helper)["doubled"]
        return native.stamp(module(tmp_path, "callers", caller, doubled=doubled, MORE=more)["answer"])

    first = stamp()
    assert stamp() == first
    others = [
        stamp(helper=HELPER.replace("2", "3")),
        stamp(caller=CALLER + "# changed"),
        stamp(more=2),
        stamp(more=np.ones(3)),
    ]
    assert len({first, *others}) == 5


def test_a_kept_function_is_compiled_anew_when_a_helper_in_another_file_changed(
    tmp_path: Path, loaders: dict[Any, Callable[[], object]]
) -> None:
    def answer(helper: str) -> tuple[int, bool]:
        doubled = module(tmp_path, "helpers", helper)["doubled"]
        made = module(tmp_path, "callers", f"@native.compiled('int64(int64)')\n{CALLER}", doubled=doubled, MORE=1)
        return made["answer"](20), bool(made["answer"].stats.cache_hits)

    assert answer(HELPER) == (41, False)
    assert answer(HELPER) == (41, True)
    assert answer(HELPER.replace("2", "3")) == (61, False)


def test_what_an_image_brings_along_is_used_where_nobody_may_write(
    tmp_path: Path, loaders: dict[Any, Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "compiled"
    monkeypatch.setattr(native.config, "CACHE_DIR", str(kept))

    def answer(helper: str) -> tuple[int, bool]:
        doubled = module(tmp_path, "helpers", helper)["doubled"]
        made = module(tmp_path, "callers", f"@native.compiled('int64(int64)')\n{CALLER}", doubled=doubled, MORE=1)
        return made["answer"](20), bool(made["answer"].stats.cache_hits)

    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in kept.rglob("*.nb?")}

    def refused(locator: object) -> None:
        raise PermissionError("read-only file system")

    assert answer(HELPER) == (41, False)
    before = contents()
    assert len(before) == 2
    monkeypatch.setattr("numba.core.caching._CacheLocator.ensure_cache_path", refused)
    assert answer(HELPER) == (41, True)
    assert answer(HELPER.replace("2", "3")) == (61, False)  # compiled for this process alone
    assert contents() == before


def test_another_fault_of_the_compiler_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(**options: Any) -> Any:
        raise RuntimeError("no such option")

    monkeypatch.setattr(native, "njit", njit)
    with pytest.raises(RuntimeError, match="no such option"):
        native.compiled("int64()")(lambda: 42)
