"""Counts of scores whose labels have come: exact sums, and weights in bins of the logit; memory does not grow.

Rows are added one after the other, as if each were added alone: the same rows give the same counts to the bit, however
they are cut into parts. A row with a negative sign takes back what another has brought.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_app.core import figures
from stream_app.core.figures import Array

#: Width of the bins in logits. ROC AUC is then right to four digits, PR AUC to half a hundredth of itself.
BIN: Final = 0.02

#: Of bins that are to be few, since they travel in every snapshot: ROC AUC to three digits, PR AUC to two hundredths.
COARSE_BIN: Final = 0.05

#: Examples of a class from which on figures are shown: an AUC's standard error is about 0.06 with 20 positives, and a
#: log-loss of a handful of examples says nothing. At a base rate of 3 % it takes some 700 examples to get there.
SHOWN_FROM_EXAMPLES_OF_A_CLASS: Final = 20


class Quality(NamedTuple):
    """The metrics of a set of examples; NaN where they are not defined yet."""

    examples: int
    positives: int
    base_rate: float
    log_loss: float
    #: log-loss of always serving the set's own base rate: what a score has to beat
    log_loss_constant: float
    roc_auc: float
    pr_auc: float
    mean_score: float
    brier: float
    #: expected calibration error, as `figures.calibration_error`
    ece: float
    #: at the threshold that was in use when each score's label came
    f1: float
    #: of calling every score positive
    f1_all_positive: float

    def shown(self) -> Quality:
        """The same for people: what rests on the labels is NaN until there are enough examples of both classes."""
        if min(self.positives, self.examples - self.positives) >= SHOWN_FROM_EXAMPLES_OF_A_CLASS:
            return self
        return Quality(self.examples, self.positives, *[math.nan] * 10)._replace(mean_score=self.mean_score)


class Rows(NamedTuple):
    """Examples as columns. `label` is 0 or 1, `sign` 1 or −1; `threshold` for F1, 1.0 while there is none."""

    score: Array
    label: Array
    weight: Array
    sign: Array
    threshold: Array

    def part(self, mask: npt.NDArray[np.bool_]) -> Rows:
        """The rows that a mask chooses."""
        return Rows(*(column[mask] for column in self))


class ScoreCounts:
    """Of one set of examples, in bins of this width."""

    def __init__(self, width: float = BIN) -> None:
        self.width = width
        self._bins = figures.bins_of(width)
        #: (label, bin) → weight, and by bin the weighted sum of scores
        self.weights: Array = np.zeros((2, self._bins))
        self.score_sums: Array = np.zeros(self._bins)
        self.sums: Array = np.zeros(len(_SUMS))

    def add(self, rows: Rows) -> None:
        """Take rows, in their order."""
        score, label, sign = rows.score, rows.label, rows.sign
        if not len(score):
            return
        weight = sign * rows.weight
        judged = weight * (rows.threshold < 1.0)
        called = judged * (score >= rows.threshold)
        loss = -np.log(np.where(label > 0.0, score, 1.0 - score))
        terms = np.stack(
            (
                sign,
                sign * label,
                weight,
                weight * label,
                weight * loss,
                weight * (score - label) ** 2,
                weight * score,
                called * label,
                called,
                judged * label,
            ),
            axis=1,
        )
        # A running sum adds row by row, where `sum` may pair them otherwise.
        self.sums = np.cumsum(np.vstack((self.sums, terms)), axis=0)[-1]
        place = figures.bin_of(score, self.width)
        np.add.at(self.weights.reshape(-1), place + self._bins * label.astype(np.intp), weight)
        np.add.at(self.score_sums, place, weight * score)

    def quality(self) -> Quality:
        """The metrics of the examples so far."""
        examples, positives, weight, bought, loss, squares, scores, hits, called, judged = self.sums.tolist()
        if examples <= 0 or weight <= 0.0:
            return Quality(0, 0, *[math.nan] * 10)
        rate = bought / weight
        return Quality(
            int(examples),
            int(positives),
            rate,
            loss / weight,
            figures.entropy(rate),
            figures.roc_auc(self.weights),
            figures.pr_auc(self.weights),
            scores / weight,
            squares / weight,
            figures.calibration_error(figures.calibration(self.weights, self.score_sums)),
            2 * hits / (called + judged) if judged > 0.0 else math.nan,
            figures.f1_all_positive(rate),
        )

    def reliability(self, bins: int) -> Array:
        """Of bins of equal weight by rising score: weight, mean score, share bought; shape (≤ bins, 3)."""
        return figures.calibration(self.weights, self.score_sums, bins) if self.sums[0] > 0 else np.empty((0, 3))

    def best_threshold(self) -> float:
        """The threshold whose F1 is best on these examples; 1.0 without positives."""
        return figures.best_f1(self.weights, self.width)[0]

    def export(self) -> dict[str, Any]:
        """Arrays to continue from: of the bins with anything in them, in turn, and the sums."""
        used = np.flatnonzero(self.weights.any(axis=0) | (self.score_sums != 0.0))
        bins = np.column_stack((used, *self.weights[:, used], self.score_sums[used]))
        return {"bins": bins.astype(np.float64), "sums": self.sums.copy()}

    def restore(self, values: dict[str, Any]) -> None:
        """Continue from an `export`.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is none; nothing has changed then.
        """
        bins, sums = np.array(values["bins"], dtype=np.float64), np.array(values["sums"], dtype=np.float64)
        if bins.size == 0:
            bins = bins.reshape(0, 4)
        if bins.ndim != 2 or bins.shape[1] != 4 or sums.shape != (len(_SUMS),):
            raise ValueError(f"counts of scores: got shapes {bins.shape} and {sums.shape}")
        if not (np.isfinite(bins).all() and np.isfinite(sums).all()):
            raise ValueError("counts of scores: got a number that is not finite")
        place = bins[:, 0].astype(np.intp)
        if len(place) and not 0 <= place.min() <= place.max() < self._bins:
            raise ValueError(f"counts of scores: got bins {place.min()} to {place.max()} of {self._bins}")
        self.weights, self.score_sums = np.zeros((2, self._bins)), np.zeros(self._bins)
        self.weights[:, place] = bins[:, 1:3].T
        self.score_sums[place] = bins[:, 3]
        self.sums = sums


#: What `ScoreCounts.sums` holds, in order; hits, called and judged (the positives among them) are for F1.
_SUMS: Final = (
    "examples", "positives", "weight", "bought", "loss", "squares", "scores", "hits", "called", "judged",
)  # fmt: skip
