"""Clusters in one pass: sessions are held back until there are enough to choose their number by, then learned from."""

from __future__ import annotations

from typing import Final

from stream_app.analytics.journeys.clusters import BEGUN_BY_MAX, Clusters
from stream_app.analytics.sample import Sample
from stream_app.analytics.sessions import SessionRows

#: Sessions held back, 12 MB: days of a small shop and hours of a large one, so that a morning alone decides nothing.
HELD_MAX: Final = 20_000

#: With fewer sessions there are no kinds to speak of.
_SESSIONS_MIN: Final = 20


class HeldBack:
    """Takes sessions that are over, each once. `clusters` is None until it is begun, and for good with too few.

    `held` is the number of sessions of which those that began the clusters are a fair sample.
    """

    def __init__(self, *, seed: int, held_max: int = HELD_MAX) -> None:
        if held_max < _SESSIONS_MIN:
            raise ValueError(f"got held_max {held_max}, expected at least {_SESSIONS_MIN}")
        self._seed = seed
        self._held_max = held_max
        self._parts: list[SessionRows] = []
        self.held = 0
        self.clusters: Clusters | None = None

    def add(self, rows: SessionRows) -> None:
        """Take in sessions; those without a step before their purchase are left out."""
        rows = rows.take(rows.steps > 0)
        if self.clusters is not None:
            self.clusters.learn(rows)
        elif len(rows):
            self._parts.append(rows)
            self.held += len(rows)
            if self.held >= self._held_max:
                self._begin()

    def close(self) -> None:
        """There are no more: begin with what is there."""
        if self.clusters is None and self.held >= _SESSIONS_MIN:
            self._begin()

    def _begin(self) -> None:
        # As one: how the sessions came in pieces makes no difference to what is begun.
        whole = SessionRows.concat(self._parts)
        sample: Sample[SessionRows] = Sample(BEGUN_BY_MAX)
        sample.add(whole)
        begun_by = sample.rows()
        assert begun_by is not None
        self.clusters = Clusters(begun_by, seed=self._seed)
        self.clusters.learn(whole)
        self._parts = []
