"""The online Newton learner as a River classifier."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from river import base

from stream_app.core.newton import NewtonLogistic
from stream_app.core.zoo.inputs import INPUT_NAMES


class NewtonLogisticRegression(base.MiniBatchClassifier):
    """`core/newton.py`'s `NewtonLogistic` as a River classifier. Inputs must come in the order of the first example."""

    def __init__(self, base_rate: float = 0.5, width: int = len(INPUT_NAMES)) -> None:
        self.base_rate = base_rate
        self.width = width
        self.core = NewtonLogistic(width, base_rate=base_rate)

    def learn_one(self, x: dict[str, float], y: bool, w: float = 1.0) -> None:
        """Learn one example; `x` must have the inputs in their fixed order."""
        self.core.learn(np.fromiter(x.values(), dtype=np.float64, count=self.width), int(y), w)

    def learn_many(self, X: pd.DataFrame, y: pd.Series) -> None:  # noqa: N803 River's name
        """Learn rows one after the other."""
        for row, label in zip(X.to_numpy(dtype=np.float64), y, strict=True):
            self.core.learn(row, int(label))

    def correct_one(self, x: dict[str, float], y: bool) -> None:
        """Take the other label back, with which the example was learned, see `NewtonLogistic.correct`."""
        self.core.correct(np.fromiter(x.values(), dtype=np.float64, count=self.width), 1 if y else -1)

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        """Probabilities of False and True."""
        p = float(self.core.predict_many(np.fromiter(x.values(), dtype=np.float64, count=self.width)[None, :])[0])
        return {False: 1.0 - p, True: p}

    def learn_rows(self, matrix: npt.NDArray[np.float64], label: int) -> None:
        """As `learn_one` of row after row, from inputs of shape (N, width) with one label."""
        self.core.learn_many(matrix, label)

    def predict_rows(self, matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Probabilities of True, shape (N,): those of `predict_proba_one`, row by row."""
        return self.core.predict_many(matrix)

    def predict_proba_many(self, X: pd.DataFrame) -> pd.DataFrame:  # noqa: N803 River's name
        """Columns False and True, one row per row of X."""
        p = self.core.predict_many(np.ascontiguousarray(X.to_numpy(dtype=np.float64)))
        return pd.DataFrame({False: 1.0 - p, True: p}, index=X.index)
