"""What an organism's file does not say is as shipped."""

from __future__ import annotations

import pytest

from readvault.domain.organism import DEFAULT_THRESHOLDS, Organism
from readvault.domain.reads import Platform


@pytest.mark.parametrize("platform", list(Platform))
def test_one_threshold_of_its_own_leaves_the_platforms_others(platform: Platform) -> None:
    """A nanopore with another depth is still a nanopore, not an Illumina."""
    organism = Organism.model_validate(
        {"name": "a", "reference": {"fasta": "a.fasta"}, "pipeline": {"platforms": {platform: {"minDepth": 33}}}}
    )
    assert organism.pipeline.thresholds(platform) == DEFAULT_THRESHOLDS[platform].model_copy(update={"min_depth": 33})


@pytest.mark.parametrize(
    "changes",
    [
        {"externalMetadata": [{"externalMetadataUpdater": "ena", "name": "country"}]},
        {"externalMetadata": [{"externalMetadataUpdater": name, "name": "run"} for name in ("ena", "sra")]},
        {"pipeline": {"external": {"mode": "after", "files": {"country": {}}}}},
        {"pipeline": {"external": {"mode": "after", "metadata": [{"name": "clade"}], "files": {"clade": {}}}}},
    ],
)
def test_a_column_of_released_data_has_one_meaning(changes: dict[str, object]) -> None:
    fields = {"name": "a", "reference": {"fasta": "a.fasta"}, "metadata": [{"name": "country"}]}
    with pytest.raises(ValueError, match=r"same name|declared twice"):
        Organism.model_validate(fields | changes)
