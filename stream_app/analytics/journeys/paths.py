"""The paths that sessions take most, and how each step leads to the next, and to a purchase."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from stream_app.analytics.heavy import Heavy
from stream_app.analytics.intervals import wilson
from stream_app.analytics.session_features import path_names
from stream_app.analytics.sessions import PATH_STEPS, SessionRows
from stream_app.analytics.table import Integers
from stream_app.core.pages import GROUPS

#: Paths kept. Short ones are most of all; long ones are nearly all different, and none of them is frequent.
KEPT_MAX: Final = 5_000

#: Where edges come from and lead to besides the kinds of step.
ENTRY, PURCHASE, LEFT = "(entry)", "(purchase)", "(left)"

_STEPS: Final = len(GROUPS)
_ENTRY, _PURCHASE, _LEFT = _STEPS, _STEPS, _STEPS + 1


class FrequentPath(NamedTuple):
    """Kinds of step up to the first purchase; sessions, those that bought, and their share's 95 % interval."""

    steps: tuple[str, ...]
    sessions: int
    bought: int
    low: float
    high: float


class Edge(NamedTuple):
    """One step after another: how often, in how many sessions, and how many of these bought, with the interval."""

    before: str
    after: str
    times: int
    sessions: int
    bought: int
    low: float
    high: float


class Paths:
    """Counts sessions whose outcome is known. Only the first `PATH_STEPS` steps count; what comes later is not told.

    `cut` counts the sessions with more.
    """

    def __init__(self, *, kept_max: int = KEPT_MAX) -> None:
        self._paths = Heavy(kept_max=kept_max, columns=2)
        #: before, after → times, sessions, sessions that bought
        self._edges: Integers = np.zeros((_STEPS + 1, _STEPS + 2, 3), np.int64)
        self.cut = 0

    def add(self, rows: SessionRows) -> None:
        """Take in sessions, each once."""
        if not len(rows):
            return
        self.cut += int((rows.steps > PATH_STEPS).sum())
        counts = np.stack([np.ones(len(rows), np.int64), rows.bought.astype(np.int64)], axis=1)
        self._paths.add(rows.path.astype(object), counts)
        self._add_edges(rows)

    def merge(self, other: Paths) -> None:
        """Take in what another has counted."""
        self._paths.merge(other._paths)
        self._edges += other._edges
        self.cut += other.cut

    @property
    def missed(self) -> int:
        """How many sessions of a path may not be counted."""
        return self._paths.missed

    def frequent(self, count: int) -> list[FrequentPath]:
        """Most sessions first."""
        names, counts = self._paths.largest(count)
        low, high = wilson(counts[:, 1], counts[:, 0])
        return [
            FrequentPath(path_names(int(name)), int(sessions), int(bought), float(low[n]), float(high[n]))
            for n, (name, (sessions, bought)) in enumerate(zip(names, counts.tolist(), strict=True))
        ]

    def edges(self) -> list[Edge]:
        """Most taken first."""
        before_names, after_names = (*GROUPS, ENTRY), (*GROUPS, PURCHASE, LEFT)
        found = []
        for before, after in zip(*np.nonzero(self._edges[:, :, 0]), strict=True):
            times, sessions, bought = self._edges[before, after].tolist()
            low, high = wilson(np.array([bought]), np.array([sessions]))
            found.append(
                Edge(before_names[before], after_names[after], times, sessions, bought, float(low[0]), float(high[0]))
            )
        return sorted(found, key=lambda edge: (-edge.times, edge.before, edge.after))

    def _add_edges(self, rows: SessionRows) -> None:
        shifts = (4 * np.arange(PATH_STEPS)).astype(np.uint64)
        codes = ((rows.path[:, None] >> shifts) & np.uint64(15)).astype(np.int64) - 1
        steps = np.minimum(rows.steps, PATH_STEPS)
        sessions = np.arange(len(rows))
        # Entry, the steps, and the end behind the last of them; a path that was cut has no end.
        whole = np.full((len(rows), PATH_STEPS + 2), -1)
        whole[:, 0] = _ENTRY
        whole[:, 1:-1] = codes
        ends = rows.steps <= PATH_STEPS
        whole[sessions[ends], steps[ends] + 1] = np.where(rows.bought[ends], _PURCHASE, _LEFT)
        before, after = whole[:, :-1].ravel(), whole[:, 1:].ravel()
        of = np.repeat(sessions, PATH_STEPS + 1)
        there = after >= 0
        width = _STEPS + 2
        edge, of = (before * width + after)[there], of[there]
        self._edges[:, :, 0] += np.bincount(edge, minlength=(_STEPS + 1) * width).reshape(_STEPS + 1, width)
        once = np.unique(of * ((_STEPS + 1) * width) + edge)
        edge, bought = once % ((_STEPS + 1) * width), rows.bought[once // ((_STEPS + 1) * width)]
        for column, chosen in ((1, edge), (2, edge[bought])):
            found = np.bincount(chosen, minlength=(_STEPS + 1) * width)
            self._edges[:, :, column] += found.reshape(_STEPS + 1, width)
