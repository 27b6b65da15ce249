"""Intervals: a Poisson bootstrap of sessions, in one reading of the rows.

A draw gives each session a weight from Poisson(1), a function of the session's hash and the draw's number: all of a
session's rows are drawn together wherever they stand, and a repetition gives the same intervals. All models share each
draw, so the difference of two is drawn as a pair. See N. Chamandy and others, "Estimating uncertainty for massive data
streams" (2012), for why a Poisson stands for drawing with replacement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_app.core.figures import bin_of, calibration_error, entropy, pr_auc, roc_auc
from stream_app.evaluation.columns import Chunk
from stream_app.evaluation.counts import Counts

#: Bins of the logit, coarser than those of the figures as thousands of counts are kept; their error cancels in a pair.
_BIN: Final = 0.05

_GOLDEN: Final = 0x9E3779B97F4A7C15

#: P(Poisson(1) ≤ k): the uniform number of a session and a draw becomes k.
_POISSON: Final = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(12)])

#: Figures that have intervals, in the order of the last axis.
DRAWN: Final = ("log_loss", "skill", "roc_auc", "pr_auc", "brier", "ece", "f1", "f1_balanced")

Array = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """The middle 95 % of the draws."""

    low: float
    high: float


@dataclass(slots=True)
class Draws:
    """Every draw's figures: shape (draws, models, len(DRAWN))."""

    values: Array

    def interval(self, model: int, figure: str) -> Interval:
        """Of one model's figure."""
        return _middle(self.values[:, model, DRAWN.index(figure)])

    def difference(self, model: int, other: int, figure: str) -> Interval:
        """Of one model's figure less another's, on the same draws."""
        place = DRAWN.index(figure)
        return _middle(self.values[:, model, place] - self.values[:, other, place])


def draws(chunks: Iterable[Chunk], thresholds: Callable[[Chunk], Array], *, models: int, number: int) -> Draws:
    """Draw `number` times from rows given in chunks, which have `p`, `label`, `weight` and `session`.

    `thresholds` gives each row's thresholds, shape (N, models).
    """
    kept = _Drawn(models, number)
    for chunk in chunks:
        if len(chunk["label"]):
            kept.add(chunk, thresholds(chunk))
    return Draws(kept.values())


def session_weights(session: npt.NDArray[np.uint64], draw: int) -> npt.NDArray[np.intp]:
    """How many times each row's session is drawn."""
    return np.searchsorted(_POISSON, session_uniforms(session, draw))


def session_uniforms(session: npt.NDArray[np.uint64], draw: int) -> Array:
    """A number in [0, 1) of each row's session, another one in each draw."""
    with np.errstate(over="ignore"):
        mixed = session + np.uint64((draw + 1) * _GOLDEN & 2**64 - 1)
        # The finaliser of SplitMix64.
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return np.asarray((mixed >> np.uint64(11)) / 2.0**53)


class _Drawn:
    """Sums and counts of every draw."""

    def __init__(self, models: int, number: int) -> None:
        self._number = number
        self._bins = Counts(1, bin_width=_BIN).bins
        self._weights = np.zeros((number, models, 2, self._bins))
        self._scores = np.zeros((number, models, self._bins))
        #: loss, squares, true positives, called positive
        self._sums = np.zeros((number, models, 4))
        self._totals = np.zeros((number, 2))

    def add(self, chunk: Chunk, thresholds: Array) -> None:
        p, positive, weight = chunk["p"], chunk["label"].astype(bool), chunk["weight"]
        called = p >= thresholds
        terms = np.stack(
            (
                -np.log(np.where(positive[:, None], p, 1.0 - p)),
                (p - positive[:, None]) ** 2,
                called & positive[:, None],
                called,
            ),
            axis=2,
        )
        flat = bin_of(p, _BIN) + positive[:, None] * self._bins
        models = p.shape[1]
        for draw in range(self._number):
            drawn = session_weights(chunk["session"], draw) * weight
            self._totals[draw] += drawn.sum(), drawn[positive].sum()
            self._sums[draw] += np.tensordot(drawn, terms, 1)
            for model in range(models):
                counts = np.bincount(flat[:, model], drawn, 2 * self._bins)
                self._weights[draw, model] += counts.reshape(2, self._bins)
                scores = np.bincount(flat[:, model], drawn * p[:, model], 2 * self._bins)
                self._scores[draw, model] += scores.reshape(2, self._bins).sum(axis=0)

    def values(self) -> Array:
        found = np.full((self._number, self._weights.shape[1], len(DRAWN)), np.nan)
        for draw in range(self._number):
            total, positive = self._totals[draw]
            if not positive or positive == total:
                continue
            constant = entropy(positive / total)
            for model, (loss, squares, hits, called) in enumerate(self._sums[draw]):
                weights = self._weights[draw, model]
                hit, false = hits / positive, (called - hits) / (total - positive)
                found[draw, model] = (
                    loss / total,
                    1 - loss / total / constant,
                    roc_auc(weights),
                    pr_auc(weights),
                    squares / total,
                    calibration_error(_calibration(weights, self._scores[draw, model])),
                    2 * hits / (called + positive),
                    2 * hit / (hit + false + 1),
                )
        return found


def _calibration(weights: Array, scores: Array) -> Array:
    counts = Counts(1, bin_width=_BIN)
    counts.weights[0], counts.score_sums[0] = weights, scores
    return counts.calibration(0)


def _middle(values: Array) -> Interval:
    defined = values[~np.isnan(values)]
    if len(defined) < len(values) / 2 or not len(defined):
        return Interval(math.nan, math.nan)
    low, high = np.quantile(defined, (0.025, 0.975))
    return Interval(float(low), float(high))


def only(chunks: Iterable[Chunk], mask: Callable[[Chunk], npt.NDArray[np.bool_]]) -> Iterator[Chunk]:
    """The rows of chunks for which `mask` is true."""
    for chunk in chunks:
        chosen = mask(chunk)
        yield {name: values[chosen] for name, values in chunk.items()}
