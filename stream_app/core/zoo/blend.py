"""Two models as one: the mean of their logits."""

from __future__ import annotations

import math
from typing import Final

from river import base

from stream_app.core.zoo.correcting import correct_one

#: A member's word is kept this far off 0 and 1, so that its logit is finite and the other is still heard.
P_MIN: Final = 1e-9


class MeanLogit(base.Classifier):
    """The mean of two classifiers' logits; both learn every example."""

    def __init__(self, first: base.Classifier, second: base.Classifier) -> None:
        self.first = first
        self.second = second

    def learn_one(self, x: dict[str, float], y: bool, w: float = 1.0) -> None:
        """Let both learn."""
        self.first.learn_one(x, y, w=w)
        self.second.learn_one(x, y, w=w)

    def correct_one(self, x: dict[str, float], y: bool) -> None:
        """Let both correct, each as it can."""
        correct_one(self.first, x, y)
        correct_one(self.second, x, y)

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        """Probabilities of False and True."""
        logit = (_logit(self.first.predict_proba_one(x)[True]) + _logit(self.second.predict_proba_one(x)[True])) / 2.0
        p = 1.0 / (1.0 + math.exp(-logit))
        return {False: 1.0 - p, True: p}


def _logit(p: float) -> float:
    p = min(max(p, P_MIN), 1.0 - P_MIN)
    return math.log(p) - math.log1p(-p)
