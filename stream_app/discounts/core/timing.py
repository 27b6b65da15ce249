"""The purchase probability against time, learned for each category, and from it the earliest and the latest moment.

**What is timed.** Two clocks, each with its own curve. `age`: an episode runs from a session's first event until it
buys, or until its last event. `quiet`: a pause runs from an event to the next one; the last pause of a session that
does not buy never ends. Both end either in a purchase (of a pause: its session buys later, so it ended by the visitor's
return) or not.

**The curve** is kept as discrete-time hazards (Singer & Willett, "It's about time", 1993; Cox 1972) over bins of equal
width in ln(1 + t). In bin k, of the n that reach it, a share b ends in a purchase and a share e ends otherwise; so

    S(k) = Π_{i<k} (1 − b_i − e_i)            reaches bin k
    A(k) = b_k + (1 − b_k − e_k) · A(k + 1)   ends in a purchase, if it reaches bin k

A(t) is what is asked for: the probability that who is still there, or still quiet, at time t ends in a purchase.
Hazards can be learned online from counts alone, may fade, and a category with few of its own borrows from the others
bin by bin: its hazards are those of (its counts + `_BORROWED` of all categories'), so that a young category has the
common curve.

**The window.** R(t) = S(t) · A(t) / A(0) is the share of the purchases that are still to come at t.

* earliest: the first t with R(t) ≤ 1/2. Before it most of those who buy have not done so yet and will without being
  asked: an offer to whoever is there is a gift to the larger part of the buyers. After it the larger part has bought at
  the full price and can no longer be given anything. On the quiet clock the same: most pauses that lead to a purchase
  are over.
* latest: the first t with R(t) ≤ 1/20. After it, of twenty who buy only one still does: nobody else comes back, whoever
  is quiet so long has left, and an offer is read by nobody, or by somebody who was about to buy at last.

Both are quantiles of when buyers buy, so they need no model of what an offer does, which the past cannot tell (docs);
and they lie in order whatever was seen. They say when an offer is least of a gift while somebody is there, not whether
it pays: that is what the holdout is for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Clock = Literal["age", "quiet"]
CLOCKS: Final[tuple[Clock, ...]] = ("age", "quiet")

#: Bins in ln(1 + s): 6 to a factor of e, up to 2 hours. Finer ones hold too few, and a bound is read between two.
_PER_E: Final = 6
TIME_S_MAX: Final = 7_200.0
BINS: Final = int(np.ceil(np.log1p(TIME_S_MAX) * _PER_E))
#: Lower edges of the bins and the upper one of the last, in s.
EDGES_S: Final[NDArray[np.float64]] = np.expm1(np.arange(BINS + 1) / _PER_E)

#: Shares of the purchases still to come at the earliest and at the latest moment.
EARLIEST_SHARE: Final = 0.5
LATEST_SHARE: Final = 0.05

#: What was seen counts half as much after this time, in ms: a week, so that weekdays and weekends are both in it.
HALF_LIFE_MS: Final = 7 * 86_400_000

#: In each bin a category borrows so many of all categories'. 50 purchases of its own outweigh a bin's loan of 20 fast,
#: and a category with five keeps to the common curve.
_BORROWED: Final = 20.0

#: Faded purchases, over all categories, from which on the curve is trusted: the quantile at 1/20 then has five beyond
#: it.
TRUSTED_FROM: Final = 100.0

#: Categories with a curve of their own, some 3 kB each; when one more comes the one that has seen least makes room.
CATEGORIES_MAX: Final = 256

#: Faded counts above this are scaled down together with their weight, so that no weight overflows.
_WEIGHT_MAX: Final = 2.0**40

Counts = NDArray[np.float64]


class Window(NamedTuple):
    """The earliest and the latest moment on a clock, in seconds."""

    earliest_s: float
    latest_s: float


class Curve(NamedTuple):
    """A curve at the edges of the bins, `EDGES_S`; shape (BINS + 1,) each.

    `buys`: A, the probability of a purchase if it is not over by then. `reached`: S, the share that is not over. Both
    are 0 at the last edge, where all is over.
    """

    buys: Counts
    reached: Counts

    def at(self, time_s: float) -> float:
        """A at a time, straight between the edges."""
        return float(np.interp(time_s, EDGES_S, self.buys))

    def to_come(self) -> Counts:
        """R at the edges: the share of the purchases still to come; falls from 1 to 0."""
        first = self.buys[0]
        share: Counts = self.reached * self.buys / first if first > 0.0 else np.zeros(BINS + 1)
        return share


class Timing:
    """Both clocks' curves, by category.

    What was seen at an older time counts less, whenever it is told: the curves do not depend on the order in which
    partitions are read, and what was counted can be taken back.
    """

    def __init__(self, *, half_life_ms: int = HALF_LIFE_MS) -> None:
        if half_life_ms <= 0:
            raise ValueError(f"got half_life_ms {half_life_ms}, expected more than 0")
        self._half_life_ms = half_life_ms
        #: The time at which something counts 1; what is seen later counts more, instead of all before it less.
        self._origin_ms: int | None = None
        self._newest_ms = 0
        self._all = {clock: _empty() for clock in CLOCKS}
        self._own: dict[str, dict[Clock, Counts]] = {}

    def __len__(self) -> int:
        """Categories with a curve of their own."""
        return len(self._own)

    def session(
        self,
        category: str | None,
        *,
        active_s: float,
        bought: bool,
        pauses_s: Sequence[float] | None = None,
        now_ms: int,
    ) -> None:
        """Take in a session that is over or has bought; one session once.

        Parameters
        ----------
        category
            The one it touched last; None counts for the common curve alone.
        active_s
            From its first event to the purchase or, without one, to the last event.
        bought
            Whether it did. What it does after a purchase is not told.
        pauses_s
            Between its events, up to the purchase or the last event; none for a session of one event. The pause that
            never ended is added here. None where pauses are not known: tell them of all sessions, or of none.
        now_ms
            When, for fading.
        """
        self._count("age", category, active_s, bought=bought, weight=self._weight(now_ms))
        for pause_s in pauses_s or ():
            self.pause(category, pause_s, bought=bought, now_ms=now_ms)
        if pauses_s is not None and not bought:
            self.pause(category, None, bought=False, now_ms=now_ms)

    def pause(
        self, category: str | None, pause_s: float | None, *, bought: bool, now_ms: int, weight: float = 1.0
    ) -> None:
        """Take in one pause of a session, None for one that never ended; `bought` is whether its session did then.

        It stands for `weight` pauses; with a negative one it is taken back, told with the time of before.
        """
        time_s = TIME_S_MAX if pause_s is None else pause_s
        self._count("quiet", category, time_s, bought=bought, weight=weight * self._weight(now_ms))

    def curve(self, clock: Clock, category: str | None = None) -> Curve:
        """The curve of a category, or the common one."""
        shared = _hazards(self._all[clock], np.zeros((BINS, 2)), 0.0)
        own = self._own.get(category or "")
        if own is None:
            return _curve(shared)
        return _curve(_hazards(own[clock], shared, _BORROWED * self._unit()))

    def window(self, clock: Clock, category: str | None = None) -> Window | None:
        """The earliest and the latest moment of a category; None while too few purchases were seen in all."""
        if self.purchases(clock) < TRUSTED_FROM:
            return None
        to_come = self.curve(clock, category).to_come()
        return Window(_first_at_most(to_come, EARLIEST_SHARE), _first_at_most(to_come, LATEST_SHARE))

    def windows(self, clock: Clock) -> dict[str | None, Window]:
        """The window of each category with a curve of its own, and under None the common one; empty as `window`."""
        common = self.window(clock)
        if common is None:
            return {}
        return {None: common, **{name: self.window(clock, name) or common for name in self._own}}

    def purchases(self, clock: Clock) -> float:
        """Faded number of what ended in a purchase, over all categories: sessions, or their pauses."""
        return float(self._all[clock][:, 1].sum() / self._unit())

    def export(self) -> dict[str, Any]:
        """Plain values and arrays to continue from."""
        return {
            "half_life_ms": self._half_life_ms,
            "origin_ms": self._origin_ms,
            "newest_ms": self._newest_ms,
            "all": {clock: self._all[clock].copy() for clock in CLOCKS},
            "own": {name: {clock: own[clock].copy() for clock in CLOCKS} for name, own in self._own.items()},
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Continue from an `export`; its own half-life goes on being used for what comes.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is none; nothing has changed then.
        """
        shared = _checked(values["all"])
        own = {str(name): _checked(tables) for name, tables in values["own"].items()}
        origin, newest = values["origin_ms"], int(values["newest_ms"])
        if len(own) > CATEGORIES_MAX:
            raise ValueError(f"timing: got {len(own)} categories, expected at most {CATEGORIES_MAX}")
        self._half_life_ms = int(values["half_life_ms"])
        self._origin_ms, self._newest_ms = None if origin is None else int(origin), newest
        self._all, self._own = shared, own

    def _weight(self, now_ms: int) -> float:
        """What something seen then counts."""
        if self._origin_ms is None:
            self._origin_ms = now_ms
            self._newest_ms = now_ms
        self._newest_ms = max(self._newest_ms, now_ms)
        unit = self._unit()
        if unit > _WEIGHT_MAX:
            for tables in (self._all, *self._own.values()):
                for clock in CLOCKS:
                    tables[clock] /= unit
            self._origin_ms = self._newest_ms
        return self._grown(now_ms - self._origin_ms)

    def _unit(self) -> float:
        """What counts 1 by now."""
        return self._grown(0 if self._origin_ms is None else self._newest_ms - self._origin_ms)

    def _grown(self, age_ms: int) -> float:
        # Bounded, since a clock that jumps by years would overflow before it could be scaled down.
        return float(2.0 ** max(-1_000.0, min(1_000.0, age_ms / self._half_life_ms)))

    def _count(self, clock: Clock, category: str | None, time_s: float, *, bought: bool, weight: float) -> None:
        place = min(BINS - 1, max(0, int(math.log1p(max(0.0, time_s)) * _PER_E)))
        for tables in self._tables(category):
            counts = tables[clock]
            # What is taken back may have come before all that was read.
            counts[place, int(bought)] = max(0.0, counts[place, int(bought)] + weight)

    def _tables(self, category: str | None) -> list[dict[Clock, Counts]]:
        if not category:
            return [self._all]
        if category not in self._own:
            if len(self._own) >= CATEGORIES_MAX:
                del self._own[min(self._own, key=lambda name: sum(float(self._own[name][c].sum()) for c in CLOCKS))]
            self._own[category] = {clock: _empty() for clock in CLOCKS}
        return [self._all, self._own[category]]


def _empty() -> Counts:
    """Shape (BINS, 2): what ended in each bin, otherwise and in a purchase."""
    return np.zeros((BINS, 2))


def _hazards(counts: Counts, shared: Counts, borrowed: float) -> Counts:
    """Shape (BINS, 2): the shares of what reaches each bin that end in it, otherwise and in a purchase."""
    at_risk = counts.sum(axis=1)[::-1].cumsum()[::-1]
    total = (at_risk + borrowed)[:, None]
    hazards: Counts = np.divide(counts + borrowed * shared, total, out=np.zeros((BINS, 2)), where=total > 0.0)
    return hazards


def _curve(hazards: Counts) -> Curve:
    goes_on = np.clip(1.0 - hazards.sum(axis=1), 0.0, 1.0)
    goes_on[-1] = 0.0  # the last bin has no end: all that reaches it is over in it
    reached = np.concatenate([[1.0], np.cumprod(goes_on)])
    buys = np.zeros(BINS + 1)
    for place in range(BINS - 1, -1, -1):
        buys[place] = hazards[place, 1] + goes_on[place] * buys[place + 1]
    return Curve(buys, reached)


def _first_at_most(falling: Counts, share: float) -> float:
    """The time at which the share is reached, straight between the edges in ln(1 + t)."""
    place = int(np.argmax(falling <= share))
    if place == 0:
        return 0.0
    before, after = float(falling[place - 1]), float(falling[place])
    part = (before - share) / (before - after)
    return float(np.expm1((place - 1 + part) / _PER_E))


def _checked(tables: dict[str, Any]) -> dict[Clock, Counts]:
    checked: dict[Clock, Counts] = {}
    for clock in CLOCKS:
        counts = np.array(tables[clock], dtype=np.float64)
        if counts.shape != (BINS, 2) or not np.isfinite(counts).all() or counts.min() < 0.0:
            raise ValueError(f"timing: got a damaged table of the clock {clock}")
        checked[clock] = counts
    return checked
