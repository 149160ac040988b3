"""Some of `make fuzz`: every kind of file, damaged at random; and the fuzzer outlives what it finds."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests import fuzz


def test_damaged_files_are_read_rightly_or_refused() -> None:
    ended, wrong = fuzz.run(range(400), say=lambda line: None)
    assert not wrong, "\n".join(wrong)
    assert ended["refused"] > 200
    assert ended["accepted"] > 20


def test_a_crash_is_a_finding_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome(number: int, folder: Path, reference: Path) -> str:
        if number == 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        return "refused"

    monkeypatch.setattr(fuzz, "outcome", outcome)
    ended, wrong = fuzz.run(range(6), say=lambda line: None)
    assert ended == {"refused": 5, "WRONG": 1}
    assert "case 3" in wrong[0]
    assert "signal 11" in wrong[0]
