"""Figures of many models on the same rows, in memory that does not grow: exact sums, and counts in bins of the logit.

As `core.prequential`, which is the served model's own; here for whole chunks of rows, many models beside each other,
and with what a report wants besides: Brier score, calibration, curves, and F1 at a threshold.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_app.core import figures
from stream_app.core.figures import CALIBRATION_BINS, Array

#: Width of the bins: scores spread over several logits, so ROC AUC is exact to five digits and PR AUC to three.
BIN: Final = 0.002


class Figures(NamedTuple):
    """Of one model on one set of rows; NaN where not defined. Rates and means are weighted by what rows stand for."""

    rows: int
    positives: int
    base_rate: float
    log_loss: float
    #: of always saying this very set's base rate: what no constant can beat
    log_loss_constant: float
    roc_auc: float
    pr_auc: float
    brier: float
    ece: float
    mean_score: float
    #: NaN unless rows were added with thresholds
    f1: float
    #: of calling every row positive
    f1_all_positive: float
    #: at the threshold that is best in hindsight
    f1_best: float
    #: shares of all rows at the threshold of `f1`, NaN without one: called rightly a buyer, wrongly one, missed, and
    #: rightly none
    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float
    accuracy: float
    #: of calling whichever is more frequent
    accuracy_constant: float
    #: NaN if nobody was called a buyer
    precision: float
    recall: float


class Counts:
    """Rows of `models` models, added chunk by chunk."""

    def __init__(self, models: int, *, bin_width: float = BIN) -> None:
        self._width = bin_width
        self.bins = figures.bins_of(bin_width)
        #: (model, label, bin) → weight, and the sums of scores in each bin for calibration
        self.weights: Array = np.zeros((models, 2, self.bins))
        self.score_sums: Array = np.zeros((models, self.bins))
        self.rows = self.positives = 0
        self.weight = self.positive_weight = 0.0
        self.loss: Array = np.zeros(models)
        self.squares: Array = np.zeros(models)
        self.scores: Array = np.zeros(models)
        #: (model) → weights of true positives, of all that were called positive, and of rows judged so
        self.hits: Array = np.zeros((models, 3))

    def add(
        self,
        p: Array,
        label: npt.NDArray[Any],
        weight: Array,
        thresholds: Array | None = None,
    ) -> None:
        """Add N rows: scores of shape (N, models), labels and weights (N,), thresholds (N, models) where F1 counts."""
        if not len(label):
            return
        positive = label.astype(bool)
        self.rows += len(label)
        self.positives += int(positive.sum())
        self.weight += float(weight.sum())
        self.positive_weight += float(weight[positive].sum())
        self.loss -= weight @ np.log(np.where(positive[:, None], p, 1.0 - p))
        self.squares += weight @ (p - positive[:, None]) ** 2
        self.scores += weight @ p
        for model in range(p.shape[1]):
            self.add_calibration(model, p[:, model], positive, weight)
        if thresholds is not None:
            called = p >= thresholds
            self.hits[:, 0] += (weight * positive) @ called
            self.hits[:, 1] += weight @ called
            self.hits[:, 2] += float(weight[positive].sum())

    def add_calibration(self, model: int, p: Array, positive: npt.NDArray[np.bool_], weight: Array) -> None:
        """Add rows of one model to its bins alone: for `calibration` and the curves, not for `figures`."""
        places = figures.bin_of(p, self._width)
        self.weights[model] += np.bincount(places + positive * self.bins, weight, 2 * self.bins).reshape(2, self.bins)
        self.score_sums[model] += np.bincount(places, weight * p, self.bins)

    def figures(self, model: int) -> Figures:
        """The figures of one model."""
        nan = math.nan
        if not self.rows:
            return Figures(0, 0, *[nan] * 19)
        rate = self.positive_weight / self.weight
        found, called, positive = self.hits[model]
        judged = bool(positive)
        hit, wrong = found / self.weight, (called - found) / self.weight
        missed = rate - hit
        return Figures(
            self.rows,
            self.positives,
            rate,
            self.loss[model] / self.weight,
            figures.entropy(rate),
            figures.roc_auc(self.weights[model]),
            figures.pr_auc(self.weights[model]),
            self.squares[model] / self.weight,
            figures.calibration_error(self.calibration(model)),
            self.scores[model] / self.weight,
            2 * found / (called + positive) if positive else nan,
            figures.f1_all_positive(rate),
            self.best_f1(model)[1],
            hit if judged else nan,
            wrong if judged else nan,
            missed if judged else nan,
            1.0 - hit - wrong - missed if judged else nan,
            1.0 - wrong - missed if judged else nan,
            max(rate, 1.0 - rate),
            found / called if judged and called else nan,
            found / positive if judged else nan,
        )

    def calibration(self, model: int, bins: int = CALIBRATION_BINS) -> Array:
        """Rows by rising score in bins of about the same weight.

        Shape (≤ bins, 3): weight, mean score, share bought.
        """
        return figures.calibration(self.weights[model], self.score_sums[model], bins)

    def best_f1(self, model: int, *, balanced: bool = False) -> tuple[float, float]:
        """The threshold with the best F1 on these rows, and that F1; `balanced` as if half of the weight were positive.

        The threshold is the lower edge of a bin, so that the bin is in. (1.0, NaN) when there is nothing to find.
        """
        weights = self.weights[model]
        if balanced and weights.sum(axis=1).all():
            weights = weights / weights.sum(axis=1, keepdims=True)
        return figures.best_f1(weights, self._width)

    def balanced_f1(self, model: int) -> float:
        """F1 as on a test with as many positives as negatives, at the thresholds that rows were added with."""
        found, called, positive = self.hits[model]
        negative = self.weight - self.positive_weight
        if not positive or not negative:
            return math.nan
        hit, false = found / positive, (called - found) / negative
        return float(2 * hit / (hit + false + 1.0))

    def curves(self, model: int) -> Array:
        """From the highest score down: false-positive rate, recall, precision; shape (M, 3)."""
        negatives, positives = self.weights[model][:, ::-1]
        some = (negatives + positives) > 0
        found, wrong = np.cumsum(positives)[some], np.cumsum(negatives)[some]
        if not len(found) or not found[-1] or not wrong[-1]:
            return np.empty((0, 3))
        return np.column_stack((wrong / wrong[-1], found / found[-1], found / (found + wrong)))
