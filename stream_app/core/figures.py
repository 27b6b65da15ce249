"""How good scores were: figures of weights by bin of the score's logit, for what runs and for the offline evaluation.

`weights` have shape (2, bins): the weight of negatives and of positives in each bin, by rising score. Rows in a bin are
ties. Bins of calibration are made of these, each with about the same weight of rows: with equal widths nearly all rows
of a shop with a base rate of 3 % would lie in the first.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: Scores lie within 1e-6 of 0 and 1: logits within ± 13.82.
LOGIT_MAX: Final = 14.0

#: Bins of the calibration error.
CALIBRATION_BINS: Final = 20


def bins_of(width: float) -> int:
    """How many bins of this width (in logits) there are."""
    return int(2 * LOGIT_MAX / width) + 1


def bin_of(p: Array, width: float) -> npt.NDArray[np.intp]:
    """The logit's bin of each score."""
    return ((np.log(p / (1.0 - p)) + LOGIT_MAX) / width).astype(np.intp)


def lower_edge(place: int, width: float) -> float:
    """The lowest score of a bin."""
    return 1.0 / (1.0 + math.exp(LOGIT_MAX - place * width))


def entropy(rate: float) -> float:
    """Log-loss of a constant on rows with this base rate."""
    return -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate)) if 0.0 < rate < 1.0 else 0.0


def f1_all_positive(rate: float) -> float:
    """F1 of calling every row positive."""
    return 2 * rate / (1 + rate)


def roc_auc(weights: Array) -> float:
    """Area under the ROC curve; ties count half."""
    negatives, positives = weights
    total = negatives.sum() * positives.sum()
    if not total:
        return math.nan
    below = np.cumsum(negatives) - negatives / 2
    return float((positives * below).sum() / total)


def pr_auc(weights: Array) -> float:
    """Average precision: the step-wise area under the precision-recall curve."""
    negatives, positives = weights[:, ::-1]
    if not positives.sum():
        return math.nan
    found = np.cumsum(positives)
    called = found + np.cumsum(negatives)
    return float((positives * found / np.where(called > 0, called, 1)).sum() / found[-1])


def calibration(weights: Array, score_sums: Array, bins: int = CALIBRATION_BINS) -> Array:
    """Rows by rising score in bins of about the same weight; `score_sums` (bins,) are weighted sums of scores.

    Shape (≤ bins, 3): weight, mean score, share bought.
    """
    weight = weights.sum(axis=0)
    filled = np.flatnonzero(weight)
    reached = np.cumsum(weight[filled])
    place = np.minimum((bins * (reached - weight[filled] / 2) / reached[-1]).astype(int), bins - 1)
    total: npt.NDArray[Any] = np.bincount(place, weight[filled], bins)
    score = np.bincount(place, score_sums[filled], bins)
    bought = np.bincount(place, weights[1][filled], bins)
    some = total > 0
    share = np.where(some, total, 1)
    return np.stack((total, score / share, bought / share), axis=1)[some]


def calibration_error(calibration: Array) -> float:
    """Mean distance of score and share bought over the bins of `calibration`, by weight."""
    return float(np.average(np.abs(calibration[:, 1] - calibration[:, 2]), weights=calibration[:, 0]))


def best_f1(weights: Array, width: float) -> tuple[float, float]:
    """The threshold with the best F1, and that F1; (1.0, NaN) without positives.

    The threshold is the lower edge of a bin, so that the bin is in.
    """
    negatives, positives = weights[:, ::-1]
    if not positives.sum():
        return 1.0, math.nan
    found = np.cumsum(positives)
    f1 = 2 * found / (found + np.cumsum(negatives) + found[-1])
    best = int(np.argmax(f1))
    return lower_edge(weights.shape[1] - 1 - best, width), float(f1[best])
