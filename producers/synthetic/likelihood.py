"""A regime as the truth reckons with it: for whatever a visit shows, how likely each intent is to show it.

Every factor has shape (intents,), in the order of `INTENT_NAMES`.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from producers.synthetic.behaviour import GAP_MS_MAX, GAP_MS_MIN
from producers.synthetic.catalogue import Catalogue
from producers.synthetic.chain import BOUGHT, EXIT, TYPES, Weights, state_of
from producers.synthetic.regime import Regime

#: One factor of the likelihood under each intent.
Factor = NDArray[np.float64]

#: The state in the moment of a purchase.
PURCHASE_STATE: Final = state_of(BOUGHT, "purchase")

#: Grid of the time that two gaps take together, in ln ms: 1.5 % apart, from twice the shortest to twice the longest.
_PAIR_LOG_MIN: Final = math.log(2 * GAP_MS_MIN)
_PAIR_LOG_MAX: Final = math.log(2 * GAP_MS_MAX)
_PAIR_POINTS: Final = 600
_PAIR_STEP: Final = (_PAIR_LOG_MAX - _PAIR_LOG_MIN) / (_PAIR_POINTS - 1)
#: Points at which the first of two gaps is tried, evenly on the logit scale.
_SPLIT_POINTS: Final = 400
_SPLIT_LOGIT_MAX: Final = 12.0


class Likelihood:
    """One regime's tables. A catalogue's items are numbered by `item_numbers`."""

    def __init__(self, regime: Regime, catalogue: Catalogue) -> None:
        intents, shift = regime.intents, regime.shift
        self.mix = regime.mix
        self.entry = _by_intent([chain.entry for chain in regime.chains])
        self.next = np.stack([chain.transition for chain in regime.chains], axis=2)  # from, to, intent
        self.buys = _by_intent([chain.buys for chain in regime.chains])
        self.categories = _by_intent([catalogue.category_probabilities(each.tilt, shift=shift) for each in intents])
        self.items = np.concatenate(
            [
                _by_intent([catalogue.item_probabilities(category, each.tilt, shift=shift) for each in intents])
                for category in range(len(catalogue.categories))
            ]
        )
        self.sources = _shares([each.sources for each in intents])
        self.devices = _shares([each.devices for each in intents])
        self.revisit = np.array([each.revisit for each in intents])
        self.stay = np.array([each.stay for each in intents])
        self._gap_log_ms = np.log([each.gap_median_s * 1000 for each in intents])
        self._gap_sigma = np.array([each.gap_sigma for each in intents])
        self._gap_scale = self._gap_sigma * math.sqrt(2.0 * math.pi)
        self._shortest = _normal_cdf((math.log(GAP_MS_MIN) - self._gap_log_ms) / self._gap_sigma)
        self._longest = _normal_cdf((self._gap_log_ms - math.log(GAP_MS_MAX)) / self._gap_sigma)

    def gap(self, gap_ms: int) -> Factor:
        """The chance of a gap of this many ms; the shortest and the longest stand for all beyond."""
        if gap_ms <= GAP_MS_MIN:
            return self._shortest
        if gap_ms >= GAP_MS_MAX:
            return self._longest
        z = (math.log(gap_ms) - self._gap_log_ms) / self._gap_sigma
        density: Factor = np.exp(-0.5 * z * z) / (self._gap_scale * gap_ms)
        return density

    def two_gaps(self, time_ms: int) -> Factor:
        """The chance that two gaps take so many ms together: something unseen happened in between."""
        place = (math.log(time_ms) - _PAIR_LOG_MIN) / _PAIR_STEP
        below = min(max(int(place), 0), _PAIR_POINTS - 2)
        part = min(max(place - below, 0.0), 1.0)
        mixed: Factor = self._pairs[below] * (1.0 - part) + self._pairs[below + 1] * part
        return mixed

    @cached_property
    def _pairs(self) -> NDArray[np.float64]:
        """Shape (_PAIR_POINTS, intents): the two gaps' densities convolved, by quadrature over how they share the time.

        Gaps cut to the shortest or longest are left out: fewer than two in a thousand of any intent's.
        """
        logit = np.linspace(-_SPLIT_LOGIT_MAX, _SPLIT_LOGIT_MAX, _SPLIT_POINTS)
        share = 1.0 / (1.0 + np.exp(-logit))
        step = logit[1] - logit[0]
        rows = []
        for log_time in np.linspace(_PAIR_LOG_MIN, _PAIR_LOG_MAX, _PAIR_POINTS):
            first = log_time + np.log(share)
            second = log_time + np.log1p(-share)
            # dx = T · share · (1 − share) · d(logit)
            weight = math.exp(log_time) * share * (1.0 - share) * step
            rows.append((self._density(first) * self._density(second) * weight[:, None]).sum(axis=0))
        return np.array(rows)

    def _density(self, log_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shape (N, intents): the chance of each millisecond of ln(ms), shape (N,)."""
        z = (log_ms[:, None] - self._gap_log_ms) / self._gap_sigma
        density: NDArray[np.float64] = np.exp(-0.5 * z * z) / (self._gap_scale * np.exp(log_ms)[:, None])
        return density

    def unseen_purchase(self, state: int) -> Factor:
        """The chance to purchase next."""
        factor: Factor = self.next[state, PURCHASE_STATE]
        return factor

    def exit(self, state: int) -> Factor:
        """The chance that nothing follows."""
        factor: Factor = self.next[state, EXIT]
        return factor


def bought(state: int) -> int:
    """The state of the same event type for a visit that has bought."""
    return BOUGHT * len(TYPES) + state % len(TYPES)


def item_numbers(catalogue: Catalogue) -> dict[str, tuple[int, int]]:
    """Item id → the number of its category, and its own in the order of `Likelihood.items`."""
    return {
        item_id: (category, number)
        for number, (category, item_id) in enumerate(
            (category, item.item_id) for category, items in enumerate(catalogue.items) for item in items
        )
    }


def _normal_cdf(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([0.5 * math.erfc(-each / math.sqrt(2.0)) for each in z.tolist()])


def _by_intent(arrays: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.stack(arrays, axis=1)


def _shares(weights: list[Weights]) -> dict[str, Factor]:
    return {name: np.array([each[name] for each in weights]) for name in weights[0]}
