"""One case of each class of every campaign; the full counts are `make faults`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.campaign import load, names
from tests.postgres_server import NoPostgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.mark.parametrize("module", names())
def test_a_few_trials(module: str, tmp_path: Path) -> None:
    campaign = load(module)
    try:
        outcome = campaign.run(campaign.tiny, 1, tmp_path)
    except NoPostgres as reason:
        pytest.skip(str(reason))
    assert outcome.failures == []
    assert outcome.trials >= campaign.tiny
    assert outcome.conditions
