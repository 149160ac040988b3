"""Patterns match what Python's own would match, and nothing makes them slow."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from readvault.domain import patterns

SHARED = [
    "",
    "abc",
    "a|bc|",
    "(a|b)*c",
    "(?:ab)+",
    "[A-Z]{2}-[0-9]{3,5}",
    r"hCoV-19/[^/]+/[^/]+/20\d\d",
    r"[\w.-]+@[\w-]+(\.[\w-]+)+",
    "a{0}",
    "a{2}b?",
    "a{2,}",
    "[]a]+",
    "[^]a]",
    "[a-c-]*",
    r"\.\$\^\\",
    ".*x.",
    "^a+$",
    "(a?){3}",
    "(a*)*",
    r"[\]\\-]+",
]
HOSTILE = ["(a+)+", "(a|a)*b", "(a|aa)+$", "([a-z]+)*!", "(.*)*x", "a*a*a*a*a*a*b", "(x+x+)+y"]


@settings(max_examples=400, deadline=None)
@given(value=st.text(alphabet="abcxyAZ019-./@[]\\^$ \n", max_size=12))
def test_a_pattern_matches_what_python_matches(value: str) -> None:
    for pattern in SHARED:
        whole = re.compile(f"(?:{pattern.removeprefix('^').removesuffix('$') if pattern == '^a+$' else pattern})")
        assert patterns.compiled(pattern).matches(value) == (whole.fullmatch(value) is not None), pattern


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("[A-Z]{2}-[0-9]{3,5}", "CH-1234"),
        (r"hCoV-19/[^/]+/[^/]+/20\d\d", "hCoV-19/Switzerland/ZH-1/2024"),
        ("^(ÄÖ|ü)+$", "ÄÖüÄÖ"),
        (r"a\$", "a$"),
    ],
)
def test_what_people_write_matches(pattern: str, value: str) -> None:
    assert patterns.compiled(pattern).matches(value)
    assert not patterns.compiled(pattern).matches(value + "\n")


@pytest.mark.parametrize("pattern", HOSTILE)
def test_no_pattern_takes_long(pattern: str) -> None:
    value = "a" * 32_000 + "?"
    begin = time.perf_counter()
    assert not patterns.compiled(pattern).matches(value)
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(a", r"'\)' is missing"),
        ("a)", "too many"),
        ("[a", "ends too early"),
        ("*a", "nothing stands before"),
        ("a{2,1}", "goes down"),
        ("a{x}", "a repetition is written"),
        ("[z-a]", "goes down"),
        (r"(a)\1", "is not known"),
        ("(?=a)", "not known"),
        ("a^b", "only stand at an end"),
        ("a\\", "ends too early"),
        ("(a{999}){999}", "repeats too much"),
        ("(" * 60 + ")" * 60, "too many groups"),
        ("((){999}){999}", "repeats too much"),
    ],
)
def test_what_is_no_pattern_is_told(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        patterns.compiled(pattern)
