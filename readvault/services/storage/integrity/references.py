"""Referenced files in a verification: each in its turn, and whose store is away or slow waits for the next run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import takewhile

from readvault.db.tables import ReferencedFile
from readvault.domain.referenced import FOLDER, file_id_of, is_referenced
from readvault.services.house import House
from readvault.services.storage.integrity.bookmarks import bookmark, keep_place
from readvault.services.storage.integrity.pinned import Pinned, pinned_versions

BOOKMARK = "references"
PATIENCE = 3
"""Files of one bucket that can't be read, until the others of it wait for the next run."""
PATIENCE_WITH_A_FILE = 60.0
SLOWEST = 10_000_000.0
"""Seconds for a file, and bytes per second beyond them: a store that is slower counts as out of reach."""
_END = FOLDER + "\x7f"


class TooSlowError(Exception):
    """A referenced file's own store takes too long."""


class Tour:
    """The referenced files that are due or lost, from where the last run stopped once around; none twice."""

    def __init__(self, house: House, since: float, before: float) -> None:
        self._house = house
        self._times = {"unchecked_since": since, "damaged_before": before}
        self._silent: Counter[str] = Counter()
        self._place: str | None = None
        self.skipped = 0
        """Files that nobody was asked for, as their bucket had been away too often in this run."""
        self.files = self._each()

    def in_time(self, pinned: Pinned, check: Callable[[int], None]) -> Callable[[int], None]:
        """`check`, which also raises TooSlowError once the file takes longer than an ordinary store would need."""
        limit = time.monotonic() + PATIENCE_WITH_A_FILE + pinned.stored.size / SLOWEST

        def checked(size: int) -> None:
            check(size)
            if time.monotonic() > limit:
                raise TooSlowError

        return checked

    def is_away(self, pinned: Pinned) -> None:
        """This file could not be read now, for whatever reason its store had."""
        self._silent[self._bucket_of(pinned)] += 1

    def keep_place(self) -> None:
        """Write down where the next run goes on: whoever comes last now comes first then."""
        if self._place is not None:
            keep_place(self._house, BOOKMARK, self._place, finished=not self._place)

    def _each(self) -> Iterator[Pinned]:
        begin = max(FOLDER, bookmark(self._house, BOOKMARK).position)
        for after, end in ((begin, _END), (FOLDER, begin)):
            due = pinned_versions(self._house, after=after, **self._times) if after < end else iter(())
            for pinned in takewhile(lambda each, end=end: is_referenced(each.key) and each.key <= end, due):  # type: ignore[misc]
                self._place = pinned.key
                if self._silent[self._bucket_of(pinned)] < PATIENCE:
                    yield pinned
                else:
                    self.skipped += 1
        if self._place is not None:
            self._place = ""

    def _bucket_of(self, pinned: Pinned) -> str:
        """Whose silence it would be: one bucket's, or one host's."""
        with self._house.sessions.read() as session:
            row = session.get(ReferencedFile, file_id_of(pinned.key))
        if row is None:
            return ""
        return "/".join(row.place.split("/", 3)[:3]) if row.bucket is None else f"{row.endpoint}/{row.bucket}"
