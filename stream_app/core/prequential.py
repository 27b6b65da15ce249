"""Prequential metrics: how good the scores were that had been served before their labels came.

Log-loss and base rate are exact sums. ROC AUC and PR AUC come from counts of the scores in bins of the logit, exact to
the bin width of 0.01 (the scores' own spread is a hundred times that), in memory that does not grow. Weights are the
number of scored events an example stands for.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

#: Served scores lie within 1e-6 of 0 and 1: logits within ±13.82.
_LOGIT_MAX: Final = 14.0
_BIN: Final = 0.01
_BINS: Final = int(2 * _LOGIT_MAX / _BIN) + 1

#: Examples of the window: a few hundred positives at a base rate of 3 %, enough for an AUC to ± 0.02.
WINDOW_EXAMPLES: Final = 10_000

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

    def shown(self) -> Quality:
        """The same for people: what rests on the labels is NaN until there are enough examples of both classes."""
        if min(self.positives, self.examples - self.positives) >= SHOWN_FROM_EXAMPLES_OF_A_CLASS:
            return self
        nan = math.nan
        return self._replace(base_rate=nan, log_loss=nan, log_loss_constant=nan, roc_auc=nan, pr_auc=nan)


class Prequential:
    """Metrics since the start, over the last `WINDOW_EXAMPLES`, and by event number, of scores that were not cold."""

    def __init__(self) -> None:
        self.total = _Counts()
        self.third = _Counts()
        self.window: deque[tuple[float, int, float]] = deque(maxlen=WINDOW_EXAMPLES)
        self.cold_examples = 0

    def observe(self, score: float, label: int, *, weight: float, events: int, cold: bool) -> None:
        """Take a served score whose label has come. Cold scores are counted apart: they are no one's prediction."""
        if cold:
            self.cold_examples += 1
            return
        self.total.add(score, label, weight)
        self.window.append((score, label, weight))
        if events == 3:
            self.third.add(score, label, weight)

    def since_start(self) -> Quality:
        """All examples so far."""
        return self.total.quality()

    def third_event(self) -> Quality:
        """Scores at the third event of their session."""
        return self.third.quality()

    def recent(self) -> Quality:
        """The last `WINDOW_EXAMPLES` examples."""
        counts = _Counts()
        for score, label, weight in self.window:
            counts.add(score, label, weight)
        return counts.quality()

    def export(self) -> dict[str, Any]:
        """Plain values to continue from; the window is not kept, it fills again."""
        return {"total": self.total.export(), "third": self.third.export(), "cold": self.cold_examples}

    def restore(self, values: dict[str, Any]) -> None:
        """Continue from an `export`."""
        self.total.restore(values["total"])
        self.third.restore(values["third"])
        self.cold_examples = int(values["cold"])


class _Counts:
    """Weighted counts of scores by logit bin, negatives and positives apart, and the exact sums."""

    def __init__(self) -> None:
        self.bins: dict[int, list[float]] = {}
        self.examples = self.positives = 0
        self.weight = self.positive_weight = self.loss = self.score = 0.0

    def add(self, score: float, label: int, weight: float) -> None:
        place = int((math.log(score / (1.0 - score)) + _LOGIT_MAX) / _BIN)
        counts = self.bins.get(place)
        if counts is None:
            counts = self.bins[place] = [0.0, 0.0]
        counts[label] += weight
        self.examples += 1
        self.positives += label
        self.weight += weight
        self.positive_weight += weight * label
        self.loss -= weight * math.log(score if label else 1.0 - score)
        self.score += weight * score

    def export(self) -> dict[str, Any]:
        return {
            "bins": [[place, *self.bins[place]] for place in sorted(self.bins)],
            "sums": [self.examples, self.positives, self.weight, self.positive_weight, self.loss, self.score],
        }

    def restore(self, values: dict[str, Any]) -> None:
        self.bins = {int(place): [negatives, positives] for place, negatives, positives in values["bins"]}
        self.examples, self.positives = int(values["sums"][0]), int(values["sums"][1])
        self.weight, self.positive_weight, self.loss, self.score = values["sums"][2:]

    def quality(self) -> Quality:
        if not self.examples:
            nan = math.nan
            return Quality(0, 0, nan, nan, nan, nan, nan, nan)
        rate = self.positive_weight / self.weight
        constant = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate)) if 0.0 < rate < 1.0 else 0.0
        places = sorted(self.bins, reverse=True)
        counts = np.array([self.bins[place] for place in places])
        return Quality(
            self.examples,
            self.positives,
            rate,
            self.loss / self.weight,
            constant,
            _roc_auc(counts),
            _pr_auc(counts),
            self.score / self.weight,
        )


def _roc_auc(counts: npt.NDArray[np.float64]) -> float:
    """Area under the ROC curve of (bins, 2) weighted counts from the highest score down; ties count half."""
    negatives, positives = counts[:, 0], counts[:, 1]
    if not negatives.sum() or not positives.sum():
        return math.nan
    above = np.cumsum(positives) - positives
    return float((negatives * (above + positives / 2)).sum() / (negatives.sum() * positives.sum()))


def _pr_auc(counts: npt.NDArray[np.float64]) -> float:
    """Average precision (the step-wise area under the precision-recall curve) of the same counts."""
    negatives, positives = counts[:, 0], counts[:, 1]
    if not positives.sum():
        return math.nan
    found = np.cumsum(positives)
    precision = found / (found + np.cumsum(negatives))
    return float((precision * positives).sum() / positives.sum())
