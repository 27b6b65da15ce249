"""A regime compiled for quick drawing: the shop's side of the tables that the truth reckons with."""

from __future__ import annotations

import math
from bisect import bisect
from itertools import accumulate

from producers.synthetic.behaviour import GAP_MS_MAX, GAP_MS_MIN
from producers.synthetic.catalogue import Catalogue
from producers.synthetic.chain import Weights
from producers.synthetic.regime import Regime, RegimeKey
from producers.synthetic.tilted import TiltedChain


class Choice:
    """A weighted choice among names, compiled."""

    __slots__ = ("_bounds", "_names")

    def __init__(self, weights: Weights) -> None:
        total = sum(weights.values())
        self._names = list(weights)
        # Without the last bound, which rounding could leave below 1.
        self._bounds = list(accumulate(weight / total for weight in list(weights.values())[:-1]))

    def draw(self, uniform: float) -> str:
        """The name for a number from [0, 1)."""
        return self._names[bisect(self._bounds, uniform)]


class Drawing:
    """What the shop draws from while a regime lasts; lists are in the order of the intents or the visitor types."""

    def __init__(self, key: RegimeKey, catalogue: Catalogue) -> None:
        regime = Regime(key)
        self.key = key
        self.intents = regime.intents
        self.chains = regime.chains
        #: The same given that they end in a purchase.
        self.buying = [TiltedChain(chain, math.inf) for chain in regime.chains]
        self.price = regime.price
        self.looks = [catalogue.draw(intent.tilt, shift=regime.shift) for intent in regime.intents]
        self.sources = [Choice(intent.sources) for intent in regime.intents]
        self.devices = [Choice(intent.devices) for intent in regime.intents]
        #: of each intent the mean and the spread of the logarithm of a gap in ms
        self._gaps = [(math.log(intent.gap_median_s * 1000), intent.gap_sigma) for intent in regime.intents]
        self._intents = [list(accumulate(row[:-1])) for row in regime.mix.tolist()]

    def intent(self, kind: int, uniform: float) -> int:
        """What a visitor of this type comes for."""
        return bisect(self._intents[kind], uniform)

    def gap_ms(self, intent: int, gauss: float) -> int:
        """The time to the next event, from a number of the standard normal distribution."""
        mean, spread = self._gaps[intent]
        gap = math.exp(mean + spread * gauss)
        return int(gap) if GAP_MS_MIN <= gap <= GAP_MS_MAX else GAP_MS_MIN if gap < GAP_MS_MIN else GAP_MS_MAX
