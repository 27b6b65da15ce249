"""Who is compared: online models that go on learning, and their frozen twins.

An online contender is what the product runs: `core.learner.Learner` learns, and what it has learned serves from the
next tick on, the base rate while it is cold, as `core.serving.ServingModel` has it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from stream_app.core.learner import Learner, TypedExample
from stream_app.core.model import SCORE_MIN, IntentModel, NonFiniteError
from stream_app.core.records import Keys

Matrix = npt.NDArray[np.float64]


class Online:
    """A zoo model that learns every example once its outcome is known."""

    def __init__(self, name: str, *, base_rate: float, hold_ms: int = 0) -> None:
        self.name = name
        self.learner = Learner(IntentModel(name, base_rate=base_rate), hold_ms=hold_ms)
        #: examples that made the model refuse
        self.refused = 0
        self._offset = 0

    @property
    def cold(self) -> bool:
        """Whether the base rate is served in its place."""
        return self.learner.cold

    def score_many(self, x: Matrix, keys: Sequence[Keys]) -> Matrix:
        """Probabilities as served, shape (N,)."""
        if self.learner.cold:
            rate = min(max(round(self.learner.base_rate, 6), SCORE_MIN), 1.0 - SCORE_MIN)
            return np.full(len(x), rate)
        return self.learner.model.score_many(x, keys)

    def learn(self, example: TypedExample, *, score: float, cold: bool) -> None:
        """Learn an example as if this contender had served it: with its own score."""
        self._offset += 1
        try:
            self.learner.fold(0, self._offset, msgspec.structs.replace(example, score=score, cold=cold))
        except NonFiniteError:
            self.refused += 1

    def frozen(self) -> Frozen:
        """Its twin whose classifier learns no more."""
        return Frozen(self)


class Frozen:
    """An online model as it was; the priors, which are inputs and not the classifier's, go on being counted."""

    def __init__(self, original: Online) -> None:
        self.name = frozen_name(original.name)
        self._original = original
        model = original.learner.model
        table = model.priors.table
        self._cold = original.cold
        self._model: IntentModel = copy.deepcopy(model, {id(table): table})

    def score_many(self, x: Matrix, keys: Sequence[Keys]) -> Matrix:
        """Probabilities, shape (N,)."""
        if self._cold:
            return self._original.score_many(x, keys) if self._original.cold else np.full(len(x), self._base_rate())
        return self._model.score_many(x, keys)

    def _base_rate(self) -> float:
        return min(max(self._original.learner.base_rate, SCORE_MIN), 1.0 - SCORE_MIN)


def frozen_name(name: str) -> str:
    """How an online model's frozen twin is called."""
    return f"{name} (frozen)"
