"""How rare what is foreseen is: sessions by length, those with a cart, those with a purchase, and when they begin."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from stream_app.analytics.intervals import share, wilson
from stream_app.analytics.sessions import SessionRows
from stream_app.analytics.table import Floats, Integers
from stream_app.core.pages import GROUP_CODE

#: What of a session is foreseen. `cart`: something was put into the cart before the first purchase.
TARGETS: Final = ("purchase", "cart")

#: Sessions of this many steps and more are counted together.
STEPS_MAX: Final = 64

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_CART: Final = GROUP_CODE["cart"]

#: What is counted of sessions: all, and those that came to each target.
COUNTED: Final = ("sessions", *TARGETS)


class Shares(NamedTuple):
    """By row: cases, hits, their share with its 95 % interval; shape (N,) each."""

    cases: Integers
    hits: Integers
    share: Floats
    low: Floats
    high: Floats


def shares(counts: Integers, target: str) -> Shares:
    """Of counts with the columns `COUNTED`, shape (N, 3)."""
    cases, hits = counts[:, 0], counts[:, COUNTED.index(target)]
    return Shares(cases, hits, share(hits, cases), *wilson(hits, cases))


class Balance:
    """Counts sessions that are over; those cut off by the end of the data apart, as nobody knows their outcome.

    Arrays have the columns `COUNTED`. `by_steps`: rows 0 to `STEPS_MAX` steps before the first purchase; `by_hour`,
    `by_weekday` (Monday first) and `by_day` (days since 1970) of the session's beginning, in the shop's time:
    `utc_offset_ms` is added to it, whatever the season.
    """

    def __init__(self, *, utc_offset_ms: int = 0) -> None:
        self._utc_offset_ms = utc_offset_ms
        self.all: Integers = np.zeros((1, len(COUNTED)), np.int64)
        self.by_steps: Integers = np.zeros((STEPS_MAX + 1, len(COUNTED)), np.int64)
        self.by_hour: Integers = np.zeros((24, len(COUNTED)), np.int64)
        self.by_weekday: Integers = np.zeros((7, len(COUNTED)), np.int64)
        #: bounded by the calendar: events before the year 2000 and of tomorrow are rejected
        self.by_day: dict[int, Integers] = {}
        self.cut_off = 0

    def add(self, rows: SessionRows, known: SessionRows) -> None:
        """Take in sessions, and those of them whose outcome is known."""
        self.cut_off += len(rows) - len(known)
        counts = np.stack([np.ones(len(known), np.int64), *targets(known).values()], axis=1).astype(np.int64)
        begin = known.first_ms + self._utc_offset_ms
        day = begin // _DAY_MS
        self.all += counts.sum(axis=0)
        np.add.at(self.by_steps, np.minimum(known.steps, STEPS_MAX), counts)
        np.add.at(self.by_hour, begin % _DAY_MS // _HOUR_MS, counts)
        np.add.at(self.by_weekday, (day + 3) % 7, counts)  # 1 January 1970 was a Thursday
        for one in np.unique(day).tolist():
            self.by_day[one] = self.by_day.get(one, 0) + counts[day == one].sum(axis=0)

    def merge(self, other: Balance) -> None:
        """Take in what another has counted, of the same shop's time."""
        for name in ("all", "by_steps", "by_hour", "by_weekday"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for day, counts in other.by_day.items():
            self.by_day[day] = self.by_day.get(day, 0) + counts
        self.cut_off += other.cut_off


def targets(rows: SessionRows) -> dict[str, Integers]:
    """Whether each session came to each of `TARGETS`, as 0 or 1."""
    return {"purchase": rows.bought.astype(np.int64), "cart": (rows.kinds[:, _CART] > 0).astype(np.int64)}
