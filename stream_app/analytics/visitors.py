"""Whether visitors come back, until when they are visitors, and what they spend, by the source of their first visit.

A visitor is followed if its hash begins with enough zero bits; one more is asked for whenever more than `followed_max`
are there. That is a fair sample of visitors, each with all its visits, and does not depend on their order.

**Return.** Each visit's end begins a wait for the next; it is cut off by the end of the data. **Lifetime.** From the
first visit to the last; who was there in the last `churn_ms` may come back, and is cut off at the last visit; the rest
has churned. Both are Kaplan–Meier, by whole days (`survival.py`).

**Value.** What a visitor has spent by an age, on average: the mean cumulative function of Nelson ("Graphical analysis
of system repair data", 1988): in each week of age, the mean over those who have been observed for all of that week.
Plain means would call every source poor that has brought new visitors lately. Its variance is the robust one of Lawless
& Nadeau ("Some simple robust methods for the analysis of recurrent events", Technometrics 37, 1995), which knows that
one visitor's purchases hang together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_app.analytics.hashing import hash_texts
from stream_app.analytics.intervals import Z
from stream_app.analytics.sessions import SessionRows
from stream_app.analytics.survival import Survival, survival
from stream_app.analytics.table import Floats, Hashes, Integers, Table, Texts

#: Visitors followed at most: 300 B each.
FOLLOWED_MAX: Final = 100_000

#: Without a visit for so long at the end of the data, a visitor has churned.
CHURN_MS: Final = 30 * 86_400_000

#: Days of waits and of lifetimes told apart; the last one holds all longer ones.
DAYS: Final = 366
#: Weeks of age that the value is known by.
WEEKS: Final = 26

#: Sources told apart, those with most followed visitors; the others are not told.
SOURCES_MAX: Final = 64

_DAY_MS: Final = 86_400_000
_WEEK_MS: Final = 7 * _DAY_MS
_ZEROS_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class VisitorRows(Table):
    """Visitors: first visit's beginning and last visit's end (ms), visits, `spend` by week of age, shape (N, WEEKS)."""

    hash: Hashes
    source: Texts
    first_ms: Integers
    last_ms: Integers
    visits: Integers
    spend: Floats


class Value(NamedTuple):
    """What a source's visitors have spent by the end of each week of age, on average; shape (WEEKS,) each.

    In the shop's currency, with a 95 % interval (asymptotic: a few large orders make it too narrow). `observed` is how
    many have been observed for so long; NaN where nobody has.
    """

    source: str
    visitors: int
    observed: Integers
    mean: Floats
    low: Floats
    high: Floats


class Visitors:
    """Takes sessions as they come to be over, each once."""

    def __init__(self, *, followed_max: int = FOLLOWED_MAX, churn_ms: int = CHURN_MS) -> None:
        if followed_max < 1 or churn_ms < 1:
            raise ValueError(f"got followed_max {followed_max} and churn_ms {churn_ms}, expected at least 1 each")
        self._followed_max = followed_max
        self._churn_ms = churn_ms
        #: zero bits that a followed visitor's hash begins with
        self._zeros = 0
        self._rows: VisitorRows | None = None
        #: waits that ended in a visit, by the zero bits of the visitor's hash and by day: those of visitors that are no
        #: longer followed are told apart so
        self._returns: Integers = np.zeros((_ZEROS_MAX + 1, DAYS), np.int64)
        self._newest_ms = 0

    def __len__(self) -> int:
        """Visitors followed."""
        return 0 if self._rows is None else len(self._rows)

    @property
    def sampled(self) -> float:
        """The share of all visitors that is followed."""
        return 0.5**self._zeros

    @property
    def came_again(self) -> int:
        """Visitors followed that have more than one visit."""
        return 0 if self._rows is None else int((self._rows.visits > 1).sum())

    def add(self, rows: SessionRows) -> None:
        """Take in sessions; one that ends earlier must not come later, as `Sessions` gives them."""
        if not len(rows):
            return
        self._newest_ms = max(self._newest_ms, int(rows.last_ms.max()))
        hashes = hash_texts(rows.visitor)
        chosen = _zeros(hashes) >= self._zeros
        visits = _visits(rows.take(chosen), hashes[chosen])
        whole = visits if self._rows is None else VisitorRows.concat([self._rows, visits])
        whole = whole.take(np.argsort(whole.hash, kind="stable"))
        self._rows = self._added_up(whole) if len(whole) else whole
        while len(self._rows) > self._followed_max:
            self._zeros += 1
            self._rows = self._rows.take(_zeros(self._rows.hash) >= self._zeros)

    def returning(self) -> Survival:
        """The wait for the next visit, by whole days: `survival` is the share that has not come back by then."""
        returns = self._returns[self._zeros :].sum(axis=0)
        waiting = np.zeros(DAYS, np.int64)
        if self._rows is not None:
            waiting = _by_day(self._newest_ms - self._rows.last_ms)
        return survival(returns.astype(np.float64), np.zeros(DAYS), waiting.astype(np.float64))

    def lifetime(self) -> Survival:
        """From the first visit to the last, by whole days: `survival` is the share that is a visitor for longer."""
        churned, alive = np.zeros(DAYS, np.int64), np.zeros(DAYS, np.int64)
        if self._rows is not None:
            gone = self._newest_ms - self._rows.last_ms > self._churn_ms
            length = self._rows.last_ms - self._rows.first_ms
            churned, alive = _by_day(length[gone]), _by_day(length[~gone])
        return survival(churned.astype(np.float64), np.zeros(DAYS), alive.astype(np.float64))

    def values(self) -> list[Value]:
        """By source, most followed visitors first."""
        rows = self._rows
        if rows is None or not len(rows):
            return []
        names, counts = np.unique(rows.source.astype(str), return_counts=True)
        order = np.lexsort((names, -counts))[:SOURCES_MAX]
        return [self._value(str(names[n]), rows.take(rows.source == names[n])) for n in order]

    def _value(self, source: str, rows: VisitorRows) -> Value:
        weeks = (self._newest_ms - rows.first_ms) // _WEEK_MS
        there = weeks[:, None] > np.arange(WEEKS)
        observed = there.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            weekly = np.where(there, rows.spend, 0.0).sum(axis=0) / observed
            parts = np.where(there, (rows.spend - weekly) / observed, 0.0)
        mean = np.cumsum(weekly)
        reach = Z * np.sqrt((np.cumsum(parts, axis=1) ** 2).sum(axis=0))
        return Value(source, len(rows), observed, mean, mean - reach, mean + reach)

    def _added_up(self, rows: VisitorRows) -> VisitorRows:
        """One row for each visitor; sorted by hash, and of one visitor by end. Counts the waits between visits."""
        is_start = np.append(True, rows.hash[1:] != rows.hash[:-1])
        starts = np.flatnonzero(is_start)
        of = np.cumsum(is_start) - 1
        wait = rows.first_ms - np.append(0, rows.last_ms[:-1])
        # Visits that overlap, as of two devices, are no return.
        back = ~is_start & (wait >= 0)
        days = np.minimum(wait[back] // _DAY_MS, DAYS - 1)
        np.add.at(self._returns, (_zeros(rows.hash[back]), days), 1)
        spend = rows.spend[starts]
        more = np.flatnonzero(~is_start)
        week = np.maximum(0, rows.last_ms[more] - rows.first_ms[starts][of[more]]) // _WEEK_MS
        within = week < WEEKS
        np.add.at(spend, (of[more][within], week[within]), rows.spend[more[within], 0])
        return VisitorRows(
            rows.hash[starts],
            rows.source[starts],
            rows.first_ms[starts],
            np.maximum.reduceat(rows.last_ms, starts),
            np.add.reduceat(rows.visits, starts),
            spend,
        )


def _visits(rows: SessionRows, hashes: Hashes) -> VisitorRows:
    """Each session as a visitor of one visit."""
    spend = np.zeros((len(rows), WEEKS))
    spend[:, 0] = rows.spend
    return VisitorRows(hashes, rows.source, rows.first_ms, rows.last_ms, np.ones(len(rows), np.int64), spend)


def _zeros(hashes: Hashes) -> npt.NDArray[np.intp]:
    """Zero bits that each begins with, up to 32."""
    # frexp's exponent of a whole number is its length in bits, and 32 of them fit a float exactly.
    lengths: npt.NDArray[np.intp] = np.frexp((hashes >> np.uint64(32)).astype(np.float64))[1].astype(np.intp)
    return _ZEROS_MAX - lengths


def _by_day(lengths_ms: Integers) -> Integers:
    days = np.minimum(np.maximum(lengths_ms, 0) // _DAY_MS, DAYS - 1)
    return np.bincount(days, minlength=DAYS).astype(np.int64)
