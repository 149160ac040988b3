"""What the commands say when something is wrong before they begin."""

from __future__ import annotations

import sys

import pytest

from readvault.cli import main


def test_a_wrong_setting_is_one_line_that_names_it_and_not_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["readvault", "host-index", "fetch", "--url", "http://127.0.0.1:9/x"])
    monkeypatch.setenv("READVAULT_WORKER__CONCURRENCY", "secret")
    with pytest.raises(SystemExit) as end:
        main.main()
    assert str(end.value).startswith("readvault: READVAULT_WORKER__CONCURRENCY: Input should be a valid integer")
    assert "secret" not in str(end.value)
