"""An organism: its reference, what may be submitted, and how reads are processed.

The YAML of `deployments/organisms/` is read into `Organism`. Unknown keys are errors, so that a
mistyped threshold stops the start instead of being dropped. Only `name` and `reference` have no
default. `docs/organisms.md` explains every key.
"""

from readvault.domain.organism.metadata_field import FILES_PREFIX, MetadataField, MetadataType
from readvault.domain.organism.organism import (
    RESERVED_NAMES,
    CandidateReference,
    ExternalMetadataField,
    Organism,
    Reference,
    Review,
)
from readvault.domain.organism.parts import Bytes, Fraction, SampleType, Strict
from readvault.domain.organism.pipeline import (
    DEFAULT_THRESHOLDS,
    Align,
    Consensus,
    Dehumanize,
    External,
    Limit,
    Metric,
    Originals,
    OutputCategory,
    Pipeline,
    PlatformThresholds,
    Qc,
    QcRule,
    Reprocessing,
    Rescreen,
    Silo,
)
from readvault.domain.organism.silo import SiloExport
from readvault.domain.organism.submission import FileCategory, Submission

__all__ = [
    "DEFAULT_THRESHOLDS",
    "FILES_PREFIX",
    "RESERVED_NAMES",
    "Align",
    "Bytes",
    "CandidateReference",
    "Consensus",
    "Dehumanize",
    "External",
    "ExternalMetadataField",
    "FileCategory",
    "Fraction",
    "Limit",
    "MetadataField",
    "MetadataType",
    "Metric",
    "Organism",
    "Originals",
    "OutputCategory",
    "Pipeline",
    "PlatformThresholds",
    "Qc",
    "QcRule",
    "Reference",
    "Reprocessing",
    "Rescreen",
    "Review",
    "SampleType",
    "Silo",
    "SiloExport",
    "Strict",
    "Submission",
]
