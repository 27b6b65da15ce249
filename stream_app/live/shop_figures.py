"""What closed sessions say of the shop, as they come: who buys after how long, by what they came, and how rare it is.

The same counts as a report of a whole history makes (`stream_app.analytics`), fed a few hundred sessions at a time.
Memory does not depend on how many there were: counts by length, and the most frequent names of each kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np

from stream_app.analytics.balance import STEPS_MAX, Balance
from stream_app.analytics.heavy import Heavy
from stream_app.analytics.intervals import wilson
from stream_app.analytics.purchase_time import BUCKET_S, BUCKETS, PurchaseTime
from stream_app.analytics.table import Integers
from stream_app.live.told_sessions import ClosedTold, closed_episodes, closed_rows

#: By what conversion is told, as the record names it.
BY: Final = ("source", "country", "category")

#: Names counted of each; a shop's tags may be new with every visit, and then the frequent ones stay.
NAMES_MAX: Final = 256

#: What has no name.
NO_NAME: Final = "(none)"

#: Where the ranges of a session's length begin, in s, after the sessions of no length: as people think of visits.
LENGTHS_S: Final = (0, 10, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600)

#: Where the ranges of a session's number of events begin.
EVENTS: Final = (1, 2, 3, 4, 6, 11, 21)


class Conversion(NamedTuple):
    """Sessions, those that bought, and the interval (95 %) of their share."""

    sessions: int
    bought: int
    low: float
    high: float

    def facts(self) -> dict[str, Any]:
        """As JSON values; `share` is None of no sessions."""
        return {**self._asdict(), "share": self.bought / self.sessions if self.sessions else None}


class ShopFigures:
    """Takes closed sessions, each once."""

    def __init__(self) -> None:
        self._balance = Balance()
        self._time = PurchaseTime(categories_max=1)
        self._by = {name: Heavy(kept_max=NAMES_MAX, columns=2) for name in BY}
        #: sessions that bought, by who told of it
        self.told = {"events": 0, "labels": 0, "both": 0}
        #: the newest one's end, ms
        self.newest: int | None = None

    @property
    def sessions(self) -> int:
        """How many were taken."""
        return int(self._balance.all[0, 0])

    def take(self, told: Sequence[ClosedTold]) -> None:
        """Take in sessions."""
        if not told:
            return
        rows = closed_rows(told)
        self._balance.add(rows, rows)
        self._time.add(closed_episodes(told))
        counts = np.stack([np.ones(len(rows), np.int64), rows.bought.astype(np.int64)], axis=1)
        for name, heavy in self._by.items():
            texts = getattr(rows, name)
            heavy.add(np.where(texts == "", NO_NAME, texts), counts)
        for one in told:
            if one.bought:
                self.told[_told_by(one)] += 1
        self.newest = max(self.newest or 0, max(one.end for one in told))

    def balance(self) -> Conversion:
        """Of all."""
        (row,) = conversions(self._balance.all[:, :2])
        return row

    def by(self, name: str, count: int) -> list[tuple[str, Conversion]]:
        """Of the names with the most sessions, of one of `BY`."""
        names, counts = self._by[name].largest(count)
        return list(zip(names, conversions(counts), strict=True))

    def missed(self, name: str) -> int:
        """How many sessions of a name may not be counted; 0 as long as there are few names."""
        return self._by[name].missed

    def by_events(self) -> list[tuple[int, Conversion]]:
        """By the number of events: where each of `EVENTS` begins, up to the next one."""
        places = [*EVENTS, STEPS_MAX + 1]
        table = self._balance.by_steps[:, :2]
        parts = np.stack([table[low:high].sum(axis=0) for low, high in pairwise(places)])
        return list(zip(EVENTS, conversions(parts), strict=True))

    def by_length(self) -> list[tuple[int | None, Conversion]]:
        """By length: those of none first (None), then where each of `LENGTHS_S` begins."""
        curve = self._time.curve()
        buckets = np.stack([curve.episodes, curve.bought], axis=1)
        places = [*(second // BUCKET_S for second in LENGTHS_S), BUCKETS]
        parts = [buckets[low:high].sum(axis=0) for low, high in pairwise(places)]
        bounces = np.array([curve.bounces.episodes, curve.bounces.bought])
        return list(zip((None, *LENGTHS_S), conversions(np.stack([bounces, *parts])), strict=True))

    def facts(self, *, names: int) -> dict[str, Any]:
        """As JSON values, with so many names of each kind; see docs/live-page.md."""
        return {
            "newest": self.newest,
            **self.balance().facts(),
            "told": dict(self.told),
            "by_length": [{"from_seconds": begins, **found.facts()} for begins, found in self.by_length()],
            "by_events": [{"from_events": begins, **found.facts()} for begins, found in self.by_events()],
            **{f"by_{name}": [{name: text, **found.facts()} for text, found in self.by(name, names)] for name in BY},
        }


def _told_by(one: ClosedTold) -> str:
    if not one.labelled_checkouts:
        return "events"
    return "both" if one.purchases else "labels"


def conversions(counts: Integers) -> list[Conversion]:
    """Of counts of sessions and of those that bought, shape (N, 2)."""
    low, high = wilson(counts[:, 1], counts[:, 0])
    return [
        Conversion(int(sessions), int(bought), float(low[n]), float(high[n]))
        for n, (sessions, bought) in enumerate(counts.tolist())
    ]
