"""The model that serves and learns: a River pipeline `PurchasePriors | classifier`, the classifier by its name.

Its input `x` holds the registered features by name and, under `keys`, `touched` and `label_time`, what the priors read.
Served scores equal what a bare River loop over the same examples gives, number by number (`tests/parity`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
from river import compose

from stream_app.core.features import FEATURE_NAMES
from stream_app.core.records import Example, Keys
from stream_app.core.zoo.catalogue import ZOO
from stream_app.core.zoo.graph import NonFiniteError
from stream_app.core.zoo.inputs import CLOCK_FEATURES, INPUT_NAMES, LEARNED_FEATURES, PurchasePriors
from stream_app.core.zoo.outline import outline
from stream_app.core.zoo.reader import from_plain
from stream_app.core.zoo.writer import to_plain

__all__ = [
    "CLOCK_FEATURES",
    "INPUT_NAMES",
    "LEARNED_FEATURES",
    "SCORE_MIN",
    "ZOO",
    "IntentModel",
    "NonFiniteError",
    "PurchasePriors",
    "river_input",
]

#: Served scores are rounded to six digits and kept off 0 and 1: short in JSON, finite in log-loss.
SCORE_MIN: Final = 1e-6

#: Rows up to which one-by-one prediction is cheaper than a data frame (measured: a frame costs 1 ms, a row 0.05).
_ROWS_ONE_BY_ONE: Final = 8

#: What an input has when it is to be scored.
_SCORED: Final = (*FEATURE_NAMES, "keys")

#: A snapshot of a model that saw other inputs, or in another order, is not ours.
_INPUTS: Final = crc32(",".join(INPUT_NAMES).encode())


class IntentModel:
    """A named pipeline that scores events and learns examples.

    Raises ValueError for a name that is not in the zoo.
    """

    def __init__(self, name: str, *, base_rate: float) -> None:
        if name not in ZOO:
            raise ValueError(f"got model {name!r}, expected one of {', '.join(sorted(ZOO))}")
        self.name = name
        self._entry = ZOO[name]
        self.priors = PurchasePriors(base_rate)
        self._failure: str | None = None
        self._use(self._entry.build(base_rate))

    def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
        """Probabilities of a checkout, rounded to six digits, shape (N,), for (N, len(FEATURE_NAMES)) and N keys."""
        if len(x) <= _ROWS_ONE_BY_ONE or not self._entry.batch:
            # Most of River's classifiers predict no frames, or a column at a time with other roundings.
            rows = (dict(zip(_SCORED, (*row, key), strict=True)) for row, key in zip(x.tolist(), keys, strict=True))
            p = np.array([self.pipeline.predict_proba_one(row)[True] for row in rows])
        else:
            frame = pd.DataFrame(x, columns=list(FEATURE_NAMES))
            frame["keys"] = pd.Series(list(keys), dtype=object)
            # A logit beyond ±709 overflows to a probability of 0 or 1, which is right; clipped below.
            with np.errstate(over="ignore"):
                p = self.pipeline.predict_proba_many(frame)[True].to_numpy()
        result: npt.NDArray[np.float64] = np.clip(np.round(p, 6), SCORE_MIN, 1.0 - SCORE_MIN)
        return result

    def learn(self, example: Example) -> None:
        """Learn one example, which must be finite; `export` refuses to hand out a model that is not, or is half taught.

        Sample weights are left out: measured, they make it worse (docs/adr/0013).
        """
        try:
            self.pipeline.learn_one(river_input(example), bool(example.label))
        except (ArithmeticError, ValueError) as error:
            # An overflow, or the bin of no number: what it was about to change is half changed.
            self._failure = f"learning example {example.event_id}: {error!r}"

    def export(self) -> dict[str, Any]:
        """The classifier's state as plain numbers and arrays; the priors travel apart, entry by entry.

        It looks at every number of the state, so that no snapshot has one that is not finite.

        Raises
        ------
        NonFiniteError
            If there is one, naming the place, or if learning an example ended half-way.
        """
        if self._failure is not None:
            raise NonFiniteError(f"model {self.name}: {self._failure}")
        try:
            return {"name": self.name, "inputs": _INPUTS, **to_plain(self.classifier)}
        except NonFiniteError as error:
            raise NonFiniteError(f"model {self.name}: {error}") from None

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from an `export`.

        Raises
        ------
        ValueError
            If it is another model's, of one with other inputs, or damaged; nothing has changed then.
        """
        got = (state.get("name"), state.get("inputs")) if isinstance(state, dict) else None
        if got != (self.name, _INPUTS):
            raise ValueError(f"got a snapshot of model and inputs {got}, expected {(self.name, _INPUTS)}")
        classifier = from_plain(state)
        if outline(classifier) != outline(self.classifier):
            raise ValueError(f"got a snapshot of {outline(classifier)}, expected {outline(self.classifier)}")
        self._failure = None
        self._use(classifier)

    def _use(self, classifier: Any) -> None:
        self.classifier = classifier
        self.pipeline = compose.Pipeline(("priors", self.priors), ("classifier", classifier))


def river_input(example: Example) -> dict[str, Any]:
    """The `x` of an example, as any River loop over the same records would build it."""
    x: dict[str, Any] = dict(zip(FEATURE_NAMES, msgspec.structs.astuple(example.features), strict=True))
    x["keys"] = example.keys
    x["touched"] = example.touched
    x["label_time"] = example.label_time
    return x
