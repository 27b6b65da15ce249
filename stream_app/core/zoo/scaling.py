"""z-scores of the inputs, by River's scaler."""

from __future__ import annotations

from river import preprocessing

from stream_app.core.zoo.inputs import INPUT_NAMES, count_zeros


class ZScores(preprocessing.StandardScaler):
    """River's `StandardScaler` with a place for every input from the start.

    River's own makes a place when it is first asked, so that predicting before the first example would change it. It
    counts zeros besides: what is usual is asked for when a score is explained (`contributions.py`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts.update(dict.fromkeys(INPUT_NAMES, 0))
        for moments in (self.means, self.vars):
            moments.update(dict.fromkeys(INPUT_NAMES, 0.0))
        self.zeros = dict.fromkeys(INPUT_NAMES, 0)

    def learn_one(self, x: dict[str, float]) -> None:
        """Take one row into the moments."""
        super().learn_one(x)
        count_zeros(self.zeros, x)
