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

from stream_app.core.example_decoding import TypedExample
from stream_app.core.features import FEATURE_NAMES, FeatureValues
from stream_app.core.learner import Learner
from stream_app.core.model import SCORE_MIN, IntentModel, NonFiniteError
from stream_app.core.priors import PRIOR_NAMES
from stream_app.core.records import Keys
from stream_app.evaluation.grid import Variant, seen

Matrix = npt.NDArray[np.float64]


class View:
    """What a variant sees of an event: all, or the features and priors up to one of the grid's nested sets."""

    def __init__(self, features: str | None) -> None:
        names = seen(features)
        self._all = features is None
        self._keep = np.array([name in names for name in FEATURE_NAMES], dtype=np.float64)
        self._priors = names.issuperset(PRIOR_NAMES)

    def of(self, x: Matrix, keys: Sequence[Keys]) -> tuple[Matrix, Sequence[Keys]]:
        """Features and keys to score by."""
        if self._all:
            return x, keys
        return x * self._keep, keys if self._priors else [Keys()] * len(keys)

    def of_example(self, example: TypedExample) -> TypedExample:
        """An example to learn; what it touched is counted as ever, and seen by nobody without priors."""
        if self._all:
            return example
        values = np.array(msgspec.structs.astuple(example.features)) * self._keep
        keys = example.keys if self._priors else Keys()
        return msgspec.structs.replace(example, features=FeatureValues(*values.tolist()), keys=keys)


class Online:
    """A zoo model, or a variant of one, that learns every example once its outcome is known."""

    def __init__(self, variant: Variant, *, base_rate: float, hold_ms: int = 0) -> None:
        self.name = variant.name
        rate = base_rate if variant.base_rate is None else variant.base_rate
        hold_ms = hold_ms if variant.hold_ms is None else variant.hold_ms
        self.learner = Learner([variant.model], base_rate=rate, hold_ms=hold_ms, calibrate=variant.calibrate)
        self.view = View(variant.features)
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
        return self.learner.model.score_many(*self.view.of(x, keys))

    def learn(self, example: TypedExample, *, score: float, cold: bool) -> None:
        """Learn an example as if this contender had served it: with its own score."""
        self._offset += 1
        try:
            seen_example = self.view.of_example(example)
            self.learner.fold(0, self._offset, msgspec.structs.replace(seen_example, score=score, cold=cold))
        except NonFiniteError:
            self.refused += 1

    def broken(self) -> str | None:
        """What has made the model useless, if anything: a trainer would have gone back to a snapshot before it."""
        try:
            self.learner.model.export()
        except NonFiniteError as error:
            return str(error)
        return None

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
        return self._model.score_many(*self._original.view.of(x, keys))

    def _base_rate(self) -> float:
        return min(max(self._original.learner.base_rate, SCORE_MIN), 1.0 - SCORE_MIN)


def frozen_name(name: str) -> str:
    """How an online model's frozen twin is called."""
    return f"{name} (frozen)"
