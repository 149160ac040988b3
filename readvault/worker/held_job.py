"""What every job of the database has that reads stored files: a fence, a scratch directory, a child that reads them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from readvault.domain.errors import BytesLost, ScratchFull
from readvault.domain.organism import Organism
from readvault.pipeline import Hands
from readvault.ports import StoredVersion
from readvault.reads.sample import InputFile, Sample
from readvault.services.entries import damage
from readvault.services.house import House
from readvault.services.processing.jobs import Claim
from readvault.services.queue.lease import Lease


class HeldJob:
    """A claimed job in its own scratch directory: it fetches pinned bytes and lets a child of the nursery read them."""

    def __init__(
        self,
        house: House,
        claim: Claim,
        lease: Lease,
        directory: Path,
        child: Callable[[Sample], AbstractContextManager[Hands]],
    ) -> None:
        self._house = house
        self._claim = claim
        self._lease = lease
        self._directory = directory
        self._born = child

    @property
    def name(self) -> str:
        """The accession version."""
        return str(self._claim.accession_version)

    @property
    def _organism(self) -> Organism:
        return self._house.organism(self._claim.organism)

    def _make_sure_of_room(self, step: str, factor: float, size: int) -> None:
        """Raise ScratchFull unless the scratch disk has room for so many times `size` bytes."""
        if shutil.disk_usage(self._directory).free < factor * size:
            raise ScratchFull(step, f"the scratch disk is full: no room for {factor:g} x {size} bytes")

    def _fetched(
        self, stored: StoredVersion, sha256: str | None, target: Path, step: str, *, declared: str | None = None
    ) -> str:
        """Download a pinned version; the SHA-256 of its bytes, which is `sha256` where that is known.

        Raises BytesLost for a version that is gone or is not what was pinned (it is noted as damage), LeaseLost.
        """
        expected = sha256 or declared
        try:
            found = self._house.store.fetch(stored, target, progress=lambda _: self._lease.check(), expected=expected)
        except BytesLost:
            found = None
        if found is None or sha256 not in (None, found):
            raise damage.noticed(self._house, stored, sha256, step)
        return found

    def _child(self, work: Path, inputs: tuple[InputFile, ...], **told: Any) -> AbstractContextManager[Hands]:
        """A child of the nursery for these files; `told` is what else is known of the `Sample`."""
        return self._born(
            Sample(
                name=self.name,
                organism=self._organism,
                inputs=inputs,
                directory=work,
                host_index=self._house.settings.host_index(self._organism),
                threads=self._house.settings.worker.threads,
                **told,
            )
        )
