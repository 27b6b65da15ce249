"""Two ways of scoring, compared on the same examples over a fading window.

Sums that fade by a constant factor per example stand for a window without keeping it (Gama, Sebastião and Rodrigues,
"On evaluating stream learning algorithms", 2013). Differences are added up by episode: its events resemble one another,
and counted as if they did not, chance looks like skill.
"""

from __future__ import annotations

import math


class Paired:
    """Log-loss of one less that of the other. `window` is in examples: each counts 1/e as much after so many more."""

    def __init__(self, window: int) -> None:
        self._keep = 1.0 - 1.0 / window
        #: faded: examples, episodes
        self.examples = self.episodes = 0.0
        self._weight = self._sum = self._squares = 0.0

    def add(self, difference: float, weight: float, examples: int) -> None:
        """Take an episode's examples: the weighted sum of their differences, of their weights, and how many."""
        keep = self._keep**examples
        self.examples = self.examples * keep + examples
        self.episodes = self.episodes * keep + 1.0
        self._weight = self._weight * keep + weight
        self._sum = self._sum * keep + difference
        # What fades twice as fast: the variance of a sum with weights w is that of its terms times w².
        self._squares = self._squares * keep * keep + difference * difference

    @property
    def difference(self) -> float:
        """Mean difference per event, in nats; 0 without examples."""
        return self._sum / self._weight if self._weight else 0.0

    @property
    def z(self) -> float:
        """The difference in standard errors, as they would be if there were none; 0 where nothing differs."""
        return self._sum / math.sqrt(self._squares) if self._squares > 0.0 else 0.0

    def export(self) -> list[float]:
        """Plain values to continue from."""
        return [self.examples, self.episodes, self._weight, self._sum, self._squares]

    def restore(self, values: list[float]) -> None:
        """Continue from an `export`; raises ValueError if it is none."""
        self.examples, self.episodes, self._weight, self._sum, self._squares = values
