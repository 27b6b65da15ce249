"""The purchase probability against the time since an item was first seen.

Each episode with a view falls into the bucket of its length, from the first view to its end; of those in a bucket,
the share that was bought is the figure that shops plot. Episodes of no length (bounces: one view, or several things in
one moment) stand apart: they are most of all, and say nothing of time. Episodes without a view are only counted.

The share is of the episodes that *ended* then. Beside it stands the hazard, of those that were still *going on*
(`survival.py`): it knows what to do with episodes that were cut off by the end of the data, which the share takes as
not bought (`cut_off` says how many), and it is what a discount's timing needs.

All of it comes from counts per bucket, so memory does not depend on the number of episodes, and the counts of two
halves of a history add up to those of the whole. Only so many categories have counts of their own: when one more
comes, the one with the fewest episodes is added to `OTHER` and makes room.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from stream_app.analytics.episodes import EpisodeRows
from stream_app.analytics.intervals import share, wilson
from stream_app.analytics.shapes import Line, straight, valley
from stream_app.analytics.stretches import CUT_OFF, NEVER
from stream_app.analytics.survival import Survival, survival
from stream_app.analytics.table import Flags, Floats, Integers

#: Width of a bucket, in s; 720 of them are 2 hours, and one more holds what is longer.
BUCKET_S: Final = 10
BUCKETS: Final = 721

#: Buckets that the straight line is fitted to: the first 50 minutes.
LINE_BUCKETS: Final = 300

#: A bucket with fewer episodes is marked sparse: the interval of a share of a half is ± 0.17 then.
SPARSE_BELOW: Final = 30

#: What lies beyond the length that all but one in a thousand episodes stay under is marked as outliers.
OUTLIER_SHARE: Final = 0.001

#: Categories with counts of their own; 17 kB each.
CATEGORIES_MAX: Final = 256

#: Where categories without counts of their own are counted together, and those of items without a category.
OTHER: Final = "(other)"
NO_CATEGORY: Final = "(none)"

# What is counted of each bucket: episodes bought, those that left, those cut off. The place of bounces is the last one.
_BOUGHT, _LEFT, _CUT_OFF = 0, 1, 2
_BOUNCE: Final = BUCKETS

Counts = npt.NDArray[np.int64]


class Bounces(NamedTuple):
    """Episodes of no length, of all with a view, and the share of them that was bought with its 95 % interval."""

    episodes: int
    bought: int
    share: float
    low: float
    high: float


class PurchaseCurve(NamedTuple):
    """Of one category or all; arrays of shape (BUCKETS,).

    Bucket k is from k · `BUCKET_S` on (the first without 0), the last has no end. `valley` is fitted to the shares of
    buckets with episodes, NaN elsewhere. `line` is None with fewer than three such buckets.
    """

    episodes: Integers
    bought: Integers
    cut_off: Integers
    share: Floats
    low: Floats
    high: Floats
    sparse: Flags
    outlier: Flags
    valley: Floats
    line: Line | None
    survival: Survival
    bounces: Bounces


class PurchaseTime:
    """Counts episodes that are over. `without_view` counts those that do not enter."""

    def __init__(self, *, categories_max: int = CATEGORIES_MAX) -> None:
        if categories_max < 1:
            raise ValueError(f"got categories_max {categories_max}, expected at least 1")
        self._categories_max = categories_max
        self._all = _nothing()
        self._other = _nothing()
        self._own: dict[str, Counts] = {}
        self.without_view = 0

    def add(self, rows: EpisodeRows) -> None:
        """Take in episodes that are over, each once."""
        seen = rows.viewed_ms != NEVER
        self.without_view += len(rows) - int(seen.sum())
        rows = rows.take(seen)
        if not len(rows):
            return
        # A view may come after the purchase told in the same moment, never after the end.
        length = np.maximum(0, rows.last_ms - rows.viewed_ms)
        place = np.where(length == 0, _BOUNCE, np.minimum(length // (1000 * BUCKET_S), BUCKETS - 1))
        outcome = np.where(rows.purchased, _BOUGHT, np.where(CUT_OFF[rows.closed_by], _CUT_OFF, _LEFT))
        cell = place * 3 + outcome
        self._all += _counted(cell)
        codes, names = pd.factorize(rows.category)
        by_category = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[by_category], np.arange(1, len(names)))
        for name, cells in zip(names, np.split(cell[by_category], starts), strict=True):
            self._add_category(str(name) or NO_CATEGORY, _counted(cells))
        self._make_room()

    def merge(self, other: PurchaseTime) -> None:
        """Take in what another has counted, of other episodes."""
        self._all += other._all
        self._other += other._other
        self.without_view += other.without_view
        for name, counts in other._own.items():
            self._add_category(name, counts)
        self._make_room()

    def categories(self) -> list[str]:
        """Those with counts of their own, most episodes first; `OTHER` last where something is counted there."""
        named = sorted(self._own, key=lambda name: (-int(self._own[name].sum()), name))
        return [*named, *([OTHER] if self._other.any() else [])]

    def curve(self, category: str | None = None) -> PurchaseCurve:
        """What was found of a category, or of all; KeyError if the category has no counts of its own."""
        counts = self._all if category is None else self._other if category == OTHER else self._own[category]
        timed = counts[:BUCKETS]
        bought, episodes = timed[:, _BOUGHT], timed.sum(axis=1)
        shares = share(bought, episodes)
        low, high = wilson(bought, episodes)
        some = episodes > 0
        fitted = np.full(BUCKETS, np.nan)
        fitted[some] = valley(shares[some], episodes[some].astype(np.float64))
        middles: Floats = BUCKET_S * (np.arange(LINE_BUCKETS, dtype=np.float64) + 0.5)
        first = slice(LINE_BUCKETS)
        line = straight(middles, bought[first].astype(np.float64), episodes[first].astype(np.float64))
        longer = episodes.sum() - np.cumsum(episodes) + episodes
        return PurchaseCurve(
            episodes,
            bought,
            timed[:, _CUT_OFF],
            shares,
            low,
            high,
            episodes < SPARSE_BELOW,
            longer <= OUTLIER_SHARE * episodes.sum(),
            fitted,
            line,
            survival(*(timed[:, kind].astype(np.float64) for kind in (_BOUGHT, _LEFT, _CUT_OFF))),
            _bounces(counts[_BOUNCE]),
        )

    def _add_category(self, name: str, counts: Counts) -> None:
        if name in self._own:
            self._own[name] += counts
        else:
            self._own[name] = counts.copy()

    def _make_room(self) -> None:
        excess = len(self._own) - self._categories_max
        if excess > 0:
            for name in sorted(self._own, key=lambda name: (int(self._own[name].sum()), name))[:excess]:
                self._other += self._own.pop(name)


def _nothing() -> Counts:
    return np.zeros((BUCKETS + 1, 3), np.int64)


def _counted(cells: Integers) -> Counts:
    """How often each cell of a table occurs, as the table."""
    found: Counts = np.bincount(cells, minlength=(BUCKETS + 1) * 3).reshape(BUCKETS + 1, 3)
    return found


def _bounces(counts: Counts) -> Bounces:
    bought, episodes = counts[_BOUGHT : _BOUGHT + 1], counts.sum(keepdims=True)
    low, high = wilson(bought, episodes)
    return Bounces(int(episodes[0]), int(bought[0]), *(float(v[0]) for v in (share(bought, episodes), low, high)))
