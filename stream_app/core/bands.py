"""Where the bands of the score begin, found from the outcomes while it runs.

    unlikely < fence ≤ on_the_fence < likely ≤ likely

`f1`: `likely` begins where F1 is highest, and `on_the_fence` where F2 is, which counts a buyer missed twice: the usual
thresholds of a classifier, whatever the base rate. `profit`: `on_the_fence` are the scores at which an offer earns more
than it costs. An offer multiplies the odds of a purchase by `effect`; a purchase earns `margin`, with an offer
`margin − discount`, and making one costs `cost` (all as shares of the order's value). Of an interval of scores the
profit is added up from the outcomes seen there; the best interval is taken (Kadane's algorithm). `fixed`: as set.

Outcomes fade, so that the thresholds follow the shop. They move only for a gain, so that they do not flicker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_app.core.calibration import logit
from stream_app.core.odds import lifted

BandRule = Literal["fixed", "f1", "profit"]

#: Bins of the logit of the score, from −14 to 14.
_BIN: Final = 0.1
_LOGIT_MAX: Final = 14.0
_BINS: Final = round(2 * _LOGIT_MAX / _BIN)

#: Examples after which an outcome counts 1/e as much: some 600 buyers at a base rate of 3 %.
_WINDOW: Final = 20_000

#: Examples between two looks at the outcomes.
_EVERY: Final = 1_000

#: Faded events of buyers and of others from which on thresholds are trusted; the fixed ones serve until then. As many
#: are in the window where one event in four hundred leads to a purchase, a tenth of what is usual.
_TRUSTED_FROM: Final = 50.0

#: By what share a move must better F1, or the profit.
_GAIN: Final = 0.01

#: Of a bin's purchase rate so many events are taken from the score itself, which is calibrated.
_SCORE_EVENTS: Final = 50.0

Counts = npt.NDArray[np.float64]


class Bands(NamedTuple):
    """The lowest score of `on_the_fence` and of `likely`."""

    fence_min: float
    likely_min: float


class Offer(NamedTuple):
    """What an offer is worth: shares of an order's value, and the factor by which it multiplies the odds."""

    margin: float
    discount: float
    effect: float
    cost: float


class BandThresholds:
    """Learns the thresholds; `bands` are those in use."""

    def __init__(self, rule: BandRule, fixed: Bands, offer: Offer) -> None:
        self.rule = rule
        self.bands = self._fixed = fixed
        self._offer = offer
        #: negatives and positives by bin
        self._counts: Counts = np.zeros((_BINS, 2))
        self._since = 0

    def empty(self) -> BandThresholds:
        """Another with the same rule, that has seen nothing."""
        return BandThresholds(self.rule, self._fixed, self._offer)

    def observe(self, scores: Sequence[float], label: int, weights: Sequence[float]) -> None:
        """Rows whose label has come, with what was said of them before."""
        for p, weight in zip(scores, weights, strict=True):
            self._counts[min(_BINS - 1, int((logit(p) + _LOGIT_MAX) / _BIN)), label] += weight
        self._since += len(scores)
        if self._since >= _EVERY:
            self._choose()
            self._counts *= math.exp(-self._since / _WINDOW)
            self._since = 0

    def export(self) -> dict[str, Any]:
        """Plain values and arrays to continue from."""
        used = np.flatnonzero(self._counts.any(axis=1))
        return {
            "rule": self.rule,
            "bands": list(self.bands),
            "bins": used.tolist(),
            "counts": self._counts[used].copy(),
            "since": self._since,
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Continue from an `export`; one of another rule gives its outcomes, not its thresholds.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is none; nothing has changed then.
        """
        counts = np.zeros((_BINS, 2))
        bins = np.array(values["bins"], dtype=np.int64)
        if len(bins) and not (bins.min() >= 0 and bins.max() < _BINS and np.isfinite(values["counts"]).all()):
            raise ValueError("bands: got a damaged table of outcomes")
        counts[bins] = values["counts"]
        bands = check_bands(values["bands"])
        self._counts, self._since = counts, int(values["since"])
        self.bands = bands if values["rule"] == self.rule and self.rule != "fixed" else self._fixed

    def _choose(self) -> None:
        if self.rule == "fixed" or self._counts.sum(axis=0).min() < _TRUSTED_FROM:
            return
        self.bands = self._by_f1() if self.rule == "f1" else self._by_profit()

    def _by_f1(self) -> Bands:
        likely = self._cut(1.0, self.bands.likely_min)
        return Bands(min(self._cut(2.0, self.bands.fence_min), likely), likely)

    def _cut(self, beta: float, present: float) -> float:
        """The threshold with the highest F-measure, or the present one where that is as good."""
        # By threshold at each bin's lower edge: what lies at or above it.
        negatives, positives = np.cumsum(self._counts[::-1], axis=0)[::-1].T
        measure = (1 + beta**2) * positives / (positives + negatives + beta**2 * positives[0])
        best = int(measure.argmax())
        return _edge(best) if measure[best] > (1 + _GAIN) * measure[_bin(present)] else present

    def _by_profit(self) -> Bands:
        offer, events = self._offer, self._counts.sum(axis=1)
        middle = 1.0 / (1.0 + np.exp(-((np.arange(_BINS) + 0.5) * _BIN - _LOGIT_MAX)))
        rate = (self._counts[:, 1] + _SCORE_EVENTS * middle) / (events + _SCORE_EVENTS)
        gains = (
            events * (lifted(rate, offer.effect) * (offer.margin - offer.discount) - rate * offer.margin - offer.cost)
        ).tolist()
        low, high, best = _best_interval(gains)
        present = sum(gains[_bin(self.bands.fence_min) : _bin(self.bands.likely_min)])
        if best <= 0.0:
            # No offer pays at any score: nobody is on the fence.
            return Bands(self.bands.likely_min, self.bands.likely_min)
        return Bands(_edge(low), _edge(high)) if best > (1 + _GAIN) * max(present, 0.0) else self.bands


def check_bands(values: Sequence[float]) -> Bands:
    """Two thresholds in order; raises ValueError otherwise."""
    fence, likely = (float(value) for value in values)
    if not 0.0 < fence <= likely < 1.0:
        raise ValueError(f"bands: got thresholds {fence} and {likely}, expected 0 < first <= second < 1")
    return Bands(fence, likely)


def _best_interval(gains: Sequence[float]) -> tuple[int, int, float]:
    """First and one past the last of the neighbours with the highest sum, and the sum."""
    best, low, high = 0.0, 0, 0
    total, start = 0.0, 0
    for place, gain in enumerate(gains):
        if total <= 0.0:
            total, start = 0.0, place
        total += gain
        if total > best:
            best, low, high = total, start, place + 1
    return low, high, best


def _edge(place: int) -> float:
    """The lower edge of a bin, as a probability of four significant digits."""
    p = 1.0 / (1.0 + math.exp(_LOGIT_MAX - place * _BIN))
    return min(max(float(f"{p:.4g}"), 1e-6), 1.0 - 1e-6)


def _bin(p: float) -> int:
    # A threshold is an edge: half a bin further lies in the bin that begins there, however it was rounded.
    return min(_BINS - 1, max(0, round((logit(p) + _LOGIT_MAX) / _BIN)))
