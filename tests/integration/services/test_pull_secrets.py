"""Credentials of pulls: closed without the key, bound to their place, and keys that follow each other."""

from __future__ import annotations

import base64
import os

import pytest
from pydantic import ValidationError

from readvault.config import Settings
from readvault.config.pulls import PullSettings
from readvault.domain.errors import NotReady, ProcessingFailure
from readvault.services.pulls.sealed import conceal, of_pull, of_source, reveal


def key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def test_what_is_concealed_can_be_revealed_in_its_place_alone() -> None:
    settings = PullSettings(secret_keys=(key(),))
    hidden = conceal(settings, "secret ✓", of_pull("a"))
    assert "secret" not in hidden
    assert hidden != conceal(settings, "secret ✓", of_pull("a"))
    assert reveal(settings, hidden, of_pull("a")) == "secret ✓"
    for other in (of_pull("b"), of_source("a", 1)):
        with pytest.raises(ProcessingFailure, match="integrity"):
            reveal(settings, hidden, other)


def test_a_new_key_encrypts_and_old_ones_still_open() -> None:
    old, new = key(), key()
    before = conceal(PullSettings(secret_keys=(old,)), "s", "place")
    both = PullSettings(secret_keys=(new, old))
    after = conceal(both, "s", "place")
    assert reveal(both, before, "place") == reveal(both, after, "place") == "s"
    only_new = PullSettings(secret_keys=(new,))
    assert reveal(only_new, after, "place") == "s"
    with pytest.raises(ProcessingFailure, match="not in the settings"):
        reveal(only_new, before, "place")


def test_what_was_altered_does_not_open() -> None:
    settings = PullSettings(secret_keys=(key(),))
    hidden = conceal(settings, "a secret", "place")
    head, _, content = hidden.rpartition(".")
    raw = bytearray(base64.urlsafe_b64decode(content))
    for place in range(len(raw)):
        raw[place] ^= 1
        with pytest.raises(ProcessingFailure):
            reveal(settings, f"{head}.{base64.urlsafe_b64encode(raw).decode()}", "place")
        raw[place] ^= 1
    for rubbish in ("", "v1", "v2.x.y", f"{head}.", f"{head}.!"):
        with pytest.raises(ProcessingFailure):
            reveal(settings, rubbish, "place")


def test_without_a_key_nothing_is_taken() -> None:
    with pytest.raises(NotReady, match="READVAULT_PULLS__SECRET_KEYS"):
        conceal(PullSettings(), "s", "place")


@pytest.mark.parametrize("wrong", ["", "short", "c" * 44, base64.b64encode(b"x" * 31).decode()])
def test_a_key_that_is_none_is_refused_and_not_told(wrong: str) -> None:
    for made in (lambda: PullSettings(secret_keys=(wrong,)), lambda: Settings(pulls={"secret_keys": [wrong]})):
        with pytest.raises(ValidationError, match="32 bytes in base64") as told:
            made()
        assert len(wrong) < 6 or wrong not in str(told.value)
