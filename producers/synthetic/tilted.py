"""A chain whose odds of a purchase are multiplied, from every state on, by one factor; all else about it stays.

Doob's transform (J. L. Doob, "Conditional Brownian motion and the boundary limits of harmonic functions", 1957). With h
the chance of a purchase from a state (1 once it has bought), g = 1 + (θ − 1)·h is harmonic like h itself, so

    P'(i, j) = P(i, j) · g(j) / g(i)

is a chain again, and its chance of a purchase is θ·h / g: the odds are θ times what they were, not only where the
factor began to act but after every further step. Given that it ends in a purchase, or that it does not, a path is as
likely as before: an offer changes whether people buy, not how.
"""

from __future__ import annotations

import math
from bisect import bisect
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from producers.synthetic.chain import BOUGHT, STATES, TYPES, Chain
from stream_app.core.odds import lifted

#: From here on a state has bought: what follows has nothing to be tilted.
_BOUGHT: Final = BOUGHT * len(TYPES)


class TiltedChain:
    """`chain` with the odds of a purchase times `factor`, above 0; infinity is certainty, where there is a chance.

    Made for one visit: rows are worked out when they are come by.
    """

    def __init__(self, chain: Chain, factor: float) -> None:
        if not factor > 0.0:
            raise ValueError(f"got factor {factor}, expected a number above 0")
        self._chain = chain
        self._factor = factor
        self._next: dict[int, tuple[list[float], list[int]]] = {}

    @property
    def buys(self) -> NDArray[np.float64]:
        """Shape (STATES + 1,): as `Chain.buys`."""
        chance = self._chain.buys
        if math.isinf(self._factor):
            return (chance > 0.0).astype(np.float64)
        return lifted(chance, self._factor)

    def row(self, state: int) -> list[tuple[int, float]]:
        """What may follow a state, and with which probability.

        Raises ValueError where nothing can: with an infinite factor, from a state without a chance.
        """
        follows = self._chain.follows[state]
        if state >= _BOUGHT:
            return follows
        weighed = [(to, chance * self._weight(to)) for to, chance in follows]
        total = sum(weight for _, weight in weighed)
        if not total > 0.0:
            raise ValueError(f"got state {state}, from which no purchase can follow")
        return [(to, weight / total) for to, weight in weighed if weight > 0.0]

    def after(self, state: int, uniform: float) -> int:
        """Draw the state after `state`, or EXIT, with a number from [0, 1)."""
        found = self._next.get(state)
        if found is None:
            row = self.row(state)
            found = self._next[state] = (list(accumulate(chance for _, chance in row[:-1])), [to for to, _ in row])
        bounds, states = found
        return states[bisect(bounds, uniform)]

    def _weight(self, to: int) -> float:
        """g, or h itself with an infinite factor."""
        chance = 1.0 if _BOUGHT <= to < STATES else float(self._chain.buys[to])
        return chance if math.isinf(self._factor) else 1.0 + (self._factor - 1.0) * chance
