"""A bounded sample of rows that does not depend on their order: those whose keys hash lowest.

Every row has the same chance, halves of a history give the whole's sample, and a run gives the same one again (the
bottom-k sketch of Cohen & Kaplan, 2007).
"""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np

from stream_app.analytics.hashing import mix
from stream_app.analytics.stretches import Stretch

Rows = TypeVar("Rows", bound=Stretch)


class Sample(Generic[Rows]):
    """At most `rows_max` rows; `seen` counts all."""

    def __init__(self, rows_max: int) -> None:
        if rows_max < 1:
            raise ValueError(f"got rows_max {rows_max}, expected at least 1")
        self._rows_max = rows_max
        self._kept: Rows | None = None
        self.seen = 0

    def add(self, rows: Rows) -> None:
        """Offer rows."""
        self.seen += len(rows)
        self._keep(rows)

    def merge(self, other: Sample[Rows]) -> None:
        """Take in another's, of other rows."""
        self.seen += other.seen
        if other._kept is not None:
            self._keep(other._kept)

    def rows(self) -> Rows | None:
        """The sample, in the order of its hashes; None if nothing was offered."""
        return self._kept

    def _keep(self, rows: Rows) -> None:
        whole = rows if self._kept is None else type(rows).concat([self._kept, rows])
        # A key comes back when its session does: the time makes it another row.
        ranks = mix(whole.key, whole.first_ms.view(np.uint64))
        self._kept = whole.take(np.argsort(ranks, kind="stable")[: self._rows_max])
