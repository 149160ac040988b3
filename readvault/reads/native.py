"""Functions that numba compiles: loops over every byte of the reads, without the interpreter's lock.

Each is compiled for its one signature, kept beside the source, and loaded when it is first called: a
process pays for those that it uses. `load_ahead` loads all before a fork. What is kept is
compiled anew when its own module changed or that of any function that was compiled into it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, cast

import numpy as np
from numba import config, njit
from numba.core.caching import CacheImpl, UserProvidedCacheLocator
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher

_PLAIN = (bool, int, float, str, bytes, tuple, np.generic)
_loaders: dict[FunctionType, Callable[[], object]] = {}


class _BroughtAlong(UserProvidedCacheLocator):  # type: ignore[misc]
    """A `NUMBA_CACHE_DIR` that may only be read, as in an image: what lies there is used, nothing is added.

    numba's own locators pass a folder by that they can't write to.
    """

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _BroughtAlong | None:
        """The locator, or None where nothing was brought along for this source file."""
        if not config.CACHE_DIR:
            return None
        found = cls(py_func, py_file)
        return found if Path(found.get_cache_path()).is_dir() else None


_numbas_own = CacheImpl._locator_classes
_after = _numbas_own.index(UserProvidedCacheLocator) + 1
CacheImpl._locator_classes = [*_numbas_own[:_after], _BroughtAlong, *_numbas_own[_after:]]


def compiled[F: Callable[..., object]](signature: str) -> Callable[[F], F]:
    """Compile the function for `signature`, as numba writes it, when it is first called.

    Where nothing may be written beside the source, nor to `NUMBA_CACHE_DIR`, nor to the user's cache,
    the function is compiled in each process anew, unless `NUMBA_CACHE_DIR` has it for this processor.
    """

    def decorate(function: F) -> F:
        try:
            made = njit(cache=True, nogil=True)(function)
        except RuntimeError as fault:
            if "cannot cache" not in str(fault):
                raise
            made = njit(nogil=True)(function)
        else:
            made._cache._cache_file._source_stamp = stamp(function)
            if isinstance(made._cache._impl.locator, _BroughtAlong):
                made._cache.save_overload = lambda *_: None
        _compile_when_called(made, signature)
        _loaders[cast(FunctionType, function)] = made.load
        return cast("F", made)

    return decorate


def inlined[F: Callable[..., object]](function: F) -> F:
    """Make the function a part of each compiled one that calls it; Python itself should not call it."""
    return cast("F", njit(nogil=True, forceinline=True)(function))


def load_ahead() -> None:
    """Load every compiled function that Python calls, for the processes that are forked from this one."""
    inner = {used.py_func for function in _loaders for used in _used(function)}
    for function, load in _loaders.items():
        if function not in inner:
            load()


def stamp(function: Callable[..., Any]) -> str:
    """What the compiled form of a function depends on, as one digest.

    numba itself watches only the function's own file, and would go on using what it inlined from
    others before they changed.
    """
    content = hashlib.sha256()
    _describe(cast(FunctionType, function), content.update, set())
    return content.hexdigest()


def _compile_when_called(made: Any, signature: str) -> None:
    """Let a dispatcher without a signature take this one, and no other, at its first use."""
    call_template = made.get_call_template

    def load() -> Any:
        with global_compiler_lock:
            if made._can_compile:
                made.compile(signature)
                made.disable_compile()
        return next(iter(made.overloads.values()))

    def at_first_call(*arguments: Any) -> Any:
        """What numba calls with the arguments that it has no compiled form for; it wants the form to call."""
        form = load()
        given = [made.typeof_pyval(argument) for argument in arguments]
        wanted = form.signature.args
        fits = len(given) == len(wanted) and all(
            made.typingctx.can_convert(one, other) is not None for one, other in zip(given, wanted, strict=True)
        )
        if not fits:
            raise TypeError(f"{made.py_func.__name__} takes {wanted}, not {given}")
        return form.entry_point

    def from_compiled_code(arguments: Any, keywords: Any) -> Any:
        load()
        return call_template(arguments, keywords)

    made.load = load
    made._compile_for_args = at_first_call
    made.get_call_template = from_compiled_code


def _describe(function: FunctionType, add: Callable[[bytes], None], seen: set[FunctionType]) -> None:
    if function in seen:
        return
    seen.add(function)
    add(function.__qualname__.encode() + _digest_of(function.__code__.co_filename))
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, _PLAIN):
            add(f"{name}={value!r};".encode())
        elif isinstance(value, np.ndarray):
            add(name.encode() + value.tobytes())
    for used in _used(function):
        _describe(used.py_func, add, seen)


def _used(function: FunctionType) -> list[Any]:
    """The compiled functions that this one calls."""
    named = (function.__globals__.get(name) for name in function.__code__.co_names)
    return [value for value in named if isinstance(value, CPUDispatcher)]


@functools.cache
def _digest_of(file: str) -> bytes:
    return hashlib.sha256(Path(file).read_bytes()).digest()
