"""A start from the base rate for classifiers that would guess, or say nothing, before they know."""

from __future__ import annotations

from typing import Final

from river import base

from stream_app.core.zoo.inputs import INPUT_NAMES, count_zeros

#: Examples that the base rate counts for. A tree that has seen three examples says 0, 1 or nothing at all.
PRIOR_EXAMPLES: Final = 100.0


class WarmStart(base.Classifier):
    """The base rate b until the classifier knows better: p' = (m b + n p) / (m + n) after n examples, m = 100.

    `weighted` says whether the classifier's `learn_one` takes sample weights; a weight then counts in n as well.
    `means` and `zeros` are the inputs' over all examples: what is usual is asked for when a score is explained.
    """

    def __init__(self, classifier: base.Classifier, base_rate: float, weighted: bool = False) -> None:
        self.classifier = classifier
        self.base_rate = base_rate
        self.weighted = weighted
        self.examples = 0.0
        self.learned = 0
        self.means = dict.fromkeys(INPUT_NAMES, 0.0)
        self.zeros = dict.fromkeys(INPUT_NAMES, 0)

    def learn_one(self, x: dict[str, float], y: bool, w: float = 1.0) -> None:
        """Learn one example; `w` acts only if the classifier is `weighted`."""
        if self.weighted:
            self.classifier.learn_one(x, y, w=w)
            self.examples += w
        else:
            self.classifier.learn_one(x, y)
            self.examples += 1.0
        self.learned += 1
        share, means = 1.0 / self.learned, self.means
        for name, value in x.items():
            means[name] += (value - means[name]) * share
        count_zeros(self.zeros, x)

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        """Probabilities of False and True. A cold classifier is not asked: River's forests plant their trees then."""
        if not self.examples:
            return {False: 1.0 - self.base_rate, True: self.base_rate}
        # A classifier that has seen one label only tells that one, or nothing.
        said = self.classifier.predict_proba_one(x)
        share = said.get(True, 0.0 if said else self.base_rate)
        p = (PRIOR_EXAMPLES * self.base_rate + self.examples * share) / (PRIOR_EXAMPLES + self.examples)
        return {False: 1.0 - p, True: p}
