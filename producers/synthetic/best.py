"""The best possible policy: it knows each visitor's type and intent, and whether they are still there.

Who makes the one offer of a visit chooses when to stop waiting, so it is a problem of optimal stopping. At an event in
state s, the n-th, or at the k-th mark of quiet after it, an offer of d percent is worth

    Δ(n, s, k, d) = p'·(m − d) − p·m        per unit of the order's list price, m the margin

against none, with p and p' the exact chances of a purchase without and with it, and waiting is worth what the next mark
or the next event is. Solved backwards over marks and events, and from `GROWN_EVENTS` on, where nothing depends on n any
more, by iteration (Puterman, "Markov Decision Processes", 1994, value iteration; it converges since every visit ends).

Exact where all orders cost the same. What an order will cost depends on what is looked at next, by a few percent at
most; no use is made of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from producers.synthetic.behaviour import GAP_MS_MAX, GAP_MS_MIN
from producers.synthetic.chain import BOUGHT, CARTED, TYPES
from producers.synthetic.offers import GROWN_EVENTS, MARGIN, Shopper, odds_factor
from producers.synthetic.regime import Regime, RegimeKey
from producers.synthetic.shop import Shop
from producers.synthetic.trial import QUIET_S, Seen
from stream_app.core.odds import lifted

#: Percents that the best policy may use by default.
PERCENTS: Final = (5.0, 10.0, 15.0, 20.0)

#: States in which a purchase is still possible.
_OPEN: Final = BOUGHT * len(TYPES)
#: Iteration ends when no value moves by more: far below any offer's worth.
_CLOSE: Final = 1e-10

#: Shape (GROWN_EVENTS, marks + 1, open states): the percent to offer, 0 to wait. Of mark 0, the event itself, on.
_Rule: TypeAlias = NDArray[np.float64]
_Values: TypeAlias = NDArray[np.float64]


class Best:
    """An `Offering` for the very shop that it is tried on.

    Parameters
    ----------
    margin, quiet_s
        As of the trial.
    percents
        The levels it may use.
    """

    def __init__(
        self, shop: Shop, *, margin: float = MARGIN, quiet_s: Sequence[float] = QUIET_S,
        percents: Sequence[float] = PERCENTS,
    ) -> None:  # fmt: skip
        self._shop = shop
        self._margin = margin
        self._marks_ms = [0, *(round(1000.0 * mark) for mark in quiet_s)]
        self._percents = list(percents)
        self._rules: dict[tuple[RegimeKey, int, Shopper], _Rule] = {}

    def __call__(self, seen: Seen) -> float:
        """What to offer now, 0 for nothing yet."""
        standing = self._shop.standing(seen.visitor_id, seen.now_ms)
        if standing is None or not standing.here:
            return 0.0
        key = (standing.regime, standing.intent, standing.shopper)
        rule = self._rules.get(key)
        if rule is None:
            rule = self._rules[key] = self._solved(*key)
        mark = self._marks_ms.index(standing.quiet_ms)
        return float(rule[min(standing.events, GROWN_EVENTS) - 1, mark, standing.state])

    def worth(self, regime: RegimeKey, intent: int, shopper: Shopper) -> float:
        """What it gains over no offers on a visit, per unit of the order's price: the bound on every policy."""
        chain = Regime(regime).chains[intent]
        values, _ = self._solve(regime, intent, shopper)
        return float(chain.entry[:_OPEN] @ values[0])

    def _solved(self, regime: RegimeKey, intent: int, shopper: Shopper) -> _Rule:
        return self._solve(regime, intent, shopper)[1]

    def _solve(self, key: RegimeKey, intent: int, shopper: Shopper) -> tuple[_Values, _Rule]:
        """The values on arriving in each state as the n-th event, shape (GROWN_EVENTS, open states), and the rule."""
        regime = Regime(key)
        chain = regime.chains[intent]
        onward = chain.transition[:_OPEN, :_OPEN]
        stays = self._stays(regime.intents[intent].gap_median_s, regime.intents[intent].gap_sigma)
        offers = [self._offers(chain.buys, shopper, events) for events in range(1, GROWN_EVENTS + 1)]
        values = np.zeros((GROWN_EVENTS, _OPEN))
        rule = np.zeros((GROWN_EVENTS, len(self._marks_ms), _OPEN))
        last = GROWN_EVENTS - 1
        while True:
            found, rule[last] = self._stage(offers[last], onward @ values[last], stays)
            moved = float(np.abs(found - values[last]).max())
            values[last] = found
            if moved < _CLOSE:
                break
        for n in range(last - 1, -1, -1):
            values[n], rule[n] = self._stage(offers[n], onward @ values[n + 1], stays)
        return values, rule

    def _offers(self, buys: NDArray[np.float64], shopper: Shopper, events: int) -> NDArray[np.float64]:
        """Shape (marks + 1, percents, open states): Δ."""
        worth = np.empty((len(self._marks_ms), len(self._percents), _OPEN))
        for k, quiet_ms in enumerate(self._marks_ms):
            for d, percent in enumerate(self._percents):
                for state in range(_OPEN):
                    p = float(buys[state])
                    factor = odds_factor(shopper, percent, state, events=events, quiet_ms=quiet_ms)
                    worth[k, d, state] = lifted(p, factor) * (self._margin - percent / 100.0) - p * self._margin
        return worth

    def _stage(self, offers: NDArray[np.float64], moving_on: _Values, stays: list[float]) -> tuple[_Values, _Rule]:
        """From what moving on is worth, shape (open states,): the values at the event, and what to do at each mark."""
        rule = np.zeros((len(stays) + 1, _OPEN))
        value = moving_on
        carted = np.arange(_OPEN) // len(TYPES) == CARTED
        for k in range(len(stays), -1, -1):
            waiting = value if k == len(stays) else stays[k] * value + (1.0 - stays[k]) * moving_on
            best = offers[k].max(axis=0)
            # Nobody asks about an empty cart between two events.
            stop = (best > waiting) & (carted if k else True)
            rule[k] = np.where(stop, np.array(self._percents)[offers[k].argmax(axis=0)], 0.0)
            value = np.where(stop, best, waiting)
        return value, rule

    def _stays(self, median_s: float, sigma: float) -> list[float]:
        """For each mark and the one after it, the chance that who is there at the first is at the second."""
        there = [self._longer(mark, math.log(1000.0 * median_s), sigma) for mark in self._marks_ms]
        return [after / before if before > 0.0 else 0.0 for before, after in pairwise(there)]

    @staticmethod
    def _longer(gap_ms: float, log_ms: float, sigma: float) -> float:
        """The chance of a longer gap than this."""
        if gap_ms < GAP_MS_MIN:
            return 1.0
        return 0.0 if gap_ms >= GAP_MS_MAX else 0.5 * math.erfc((math.log(gap_ms) - log_ms) / (sigma * math.sqrt(2.0)))
