"""The model that serves and learns: a River pipeline `PurchasePriors | classifier`, and a calibrator behind it.

Its input `x` holds the registered features by name and, under `keys`, `touched` and `label_time`, what the priors read.
Served scores equal what a bare River loop over the same examples gives, number by number (`tests/parity`); while the
calibrator serves, its line of the logit comes on top.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Final
from zlib import crc32

import msgspec
import numpy as np
import pandas as pd
from river import compose

from stream_app.core.calibration import Calibrator
from stream_app.core.features import FEATURE_NAMES
from stream_app.core.records import Example, Keys
from stream_app.core.zoo.catalogue import ZOO
from stream_app.core.zoo.correcting import correct_one
from stream_app.core.zoo.graph import NonFiniteError
from stream_app.core.zoo.inputs import CLOCK_FEATURES, INPUT_NAMES, LEARNED_FEATURES, Matrix, PurchasePriors, Rows
from stream_app.core.zoo.outline import outline
from stream_app.core.zoo.reader import from_plain
from stream_app.core.zoo.trial import try_learning, try_predicting
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
    "Rows",
    "input_rows",
    "learn_touched",
    "river_input",
]

#: Served scores are rounded to six digits and kept off 0 and 1: short in JSON, finite in log-loss.
SCORE_MIN: Final = 1e-6

#: Rows up to which one-by-one prediction is cheaper than a data frame (measured: a frame costs 1 ms, a row 0.05).
_ROWS_ONE_BY_ONE: Final = 8

#: All features as they lie in a row: in a quarter of the time of an array from tuples.
_PACKED: Final = Struct(f"{len(FEATURE_NAMES)}d")

#: What an input has when it is to be scored.
_SCORED: Final = (*FEATURE_NAMES, "keys")

#: A snapshot of a model that saw other inputs, or in another order, is not ours.
_INPUTS: Final = crc32(",".join(INPUT_NAMES).encode())


class IntentModel:
    """A named classifier behind the purchase priors, with its calibrator: it scores events and learns examples.

    Several models may share one `priors`; then whoever holds them all teaches those (`core/learner.py`), and
    `learn_rows` the classifier alone. Raises ValueError for a name that is not in the zoo.
    """

    def __init__(self, name: str, *, base_rate: float, priors: PurchasePriors | None = None) -> None:
        if name not in ZOO:
            raise ValueError(f"got model {name!r}, expected one of {', '.join(sorted(ZOO))}")
        self.name = name
        self._entry = ZOO[name]
        self.priors = priors or PurchasePriors(base_rate)
        self.calibrator = Calibrator()
        self._failure: str | None = None
        self._use(self._entry.build(base_rate))

    def score_many(self, x: Matrix, keys: Sequence[Keys]) -> Matrix:
        """Probabilities of a checkout, rounded to six digits, shape (N,), for (N, len(FEATURE_NAMES)) and N keys."""
        # A logit beyond ±709 overflows to a probability of 0 or 1, which is right; clipped below.
        with np.errstate(over="ignore"):
            return as_served(self.calibrator.apply(self._predicted(x, keys)))

    def _predicted(self, x: Matrix, keys: Sequence[Keys]) -> Matrix:
        if self._by_rows:
            found: Matrix = self.classifier.predict_rows(self.priors.matrix(x, keys))
            return found
        if len(x) <= _ROWS_ONE_BY_ONE or not self._entry.batch:
            # Most of River's classifiers predict no frames, or a column at a time with other roundings.
            rows = (dict(zip(_SCORED, (*row, key), strict=True)) for row, key in zip(x.tolist(), keys, strict=True))
            return np.array([self.pipeline.predict_proba_one(row)[True] for row in rows])
        frame = pd.DataFrame(x, columns=list(FEATURE_NAMES))
        frame["keys"] = pd.Series(list(keys), dtype=object)
        predicted: Matrix = self.pipeline.predict_proba_many(frame)[True].to_numpy()
        return predicted

    def raw(self, rows: Rows) -> list[float]:
        """The classifier's own probabilities for rows of inputs, uncalibrated."""
        try:
            if self._by_rows:
                found: list[float] = self.classifier.predict_rows(rows.matrix).tolist()
            else:
                found = [float(self.classifier.predict_proba_one(x)[True]) for x in rows.dicts]
        except (ArithmeticError, ValueError) as error:
            found, told = [math.nan], repr(error)
        else:
            told = "got a probability that is not finite"
        if math.isfinite(sum(found)):
            return found
        # A classifier that learning has made useless: `export` will say so.
        self._failure = self._failure or f"predicting: {told}"
        return [0.5] * len(rows)

    def calibrated(self, raw: Sequence[float]) -> list[float]:
        """The same as they would be served."""
        if not self.calibrator.serving:
            # An episode is a few rows: NumPy's own cost would be many times theirs.
            return list(map(_as_served_one, raw))
        served: list[float] = as_served(self.calibrator.apply(np.array(raw))).tolist()
        return served

    def learn(self, example: Example) -> None:
        """Learn one example, priors included; it must be finite.

        `export` refuses to hand out a model that is not, or is half taught.
        """
        self.learn_rows(input_rows(self.priors, [example]), example.label, event_ids=[example.event_id])
        # After the classifier, as in a River pipeline: no example sees its own label.
        learn_touched(self.priors, example)

    def learn_rows(self, rows: Rows, label: int, *, event_ids: Sequence[str]) -> None:
        """Teach the classifier rows of inputs with one label, one after the other.

        Sample weights are left out: measured, they make it worse (docs/adr/0013).
        """
        if self._by_rows:
            self._teach(event_ids[0], self.classifier.learn_rows, rows.matrix, label)
            return
        for event_id, x in zip(event_ids, rows.dicts, strict=True):
            self._teach(event_id, self.classifier.learn_one, x, bool(label))

    def _teach(self, event_id: str, learn: Callable[..., None], *given: Any) -> None:
        try:
            learn(*given)
        except (ArithmeticError, ValueError) as error:
            # An overflow, or the bin of no number: what it was about to change is half changed.
            self._failure = f"learning example {event_id}: {error!r}"

    def correct_row(self, rows: Rows, n: int, label: int, *, event_id: str) -> None:
        """Teach the classifier that one of the rows, which it has learned with the other label, has this one."""
        try:
            correct_one(self.classifier, rows.dicts[n], bool(label))
        except (ArithmeticError, ValueError) as error:
            self._failure = f"correcting example {event_id}: {error!r}"

    def export(self) -> dict[str, Any]:
        """The classifier's and the calibrator's state as plain numbers and arrays.

        The priors travel apart, entry by entry. It looks at every number of the state, so that no snapshot has one that
        is not finite.

        Raises
        ------
        NonFiniteError
            If there is one, naming the place, or if learning an example ended half-way.
        """
        if self._failure is not None:
            raise NonFiniteError(f"model {self.name}: {self._failure}")
        try:
            plain = to_plain(self.classifier)
        except NonFiniteError as error:
            raise NonFiniteError(f"model {self.name}: {error}") from None
        return {"name": self.name, "inputs": _INPUTS, "calibrator": self.calibrator.export(), **plain}

    def restore(self, state: dict[str, Any], *, learns: bool = False) -> None:
        """Continue from an `export`; `learns` says whether it is to learn as well as to predict.

        Raises
        ------
        ValueError
            If it is another model's, of one with other inputs, damaged, or of a River whose classifiers were others;
            nothing has changed then.
        """
        got = (state.get("name"), state.get("inputs")) if isinstance(state, dict) else None
        if got != (self.name, _INPUTS):
            raise ValueError(f"got a snapshot of model and inputs {got}, expected {(self.name, _INPUTS)}")
        calibrator = Calibrator()
        try:
            calibrator.restore(state["calibrator"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"got a snapshot of model {self.name!r} with a damaged calibrator ({error!r})") from None
        classifier = from_plain(state)
        if outline(classifier) != outline(self.classifier):
            raise ValueError(f"got a snapshot of {outline(classifier)}, expected {outline(self.classifier)}")
        if learns:
            try_learning(from_plain(state))
        else:
            try_predicting(classifier)
        self._failure = None
        self.calibrator = calibrator
        self._use(classifier)

    def _use(self, classifier: Any) -> None:
        self.classifier = classifier
        #: whether it takes arrays: a dict for each row would cost as much as its own work
        self._by_rows = hasattr(classifier, "learn_rows")
        self.pipeline = compose.Pipeline(("priors", self.priors), ("classifier", classifier))


def as_served(p: Matrix) -> Matrix:
    """Probabilities as they are served: six digits, off 0 and 1. What is not a number stays none."""
    result: Matrix = np.clip(np.round(p, 6), SCORE_MIN, 1.0 - SCORE_MIN)
    return result


def _as_served_one(p: float) -> float:
    # NumPy rounds so: to the nearest whole number of millionths, half to even.
    return min(max(round(p * 1e6) / 1e6, SCORE_MIN), 1.0 - SCORE_MIN)


def input_rows(priors: PurchasePriors, examples: Sequence[Example]) -> Rows:
    """The inputs of examples, as the pipeline's transformer makes them of `river_input`."""
    packed = b"".join([_PACKED.pack(*msgspec.structs.astuple(example.features)) for example in examples])
    x = np.frombuffer(packed).reshape(len(examples), len(FEATURE_NAMES))
    keys = [example.keys for example in examples]
    return Rows(priors.matrix(x, keys), keys)


def learn_touched(priors: PurchasePriors, example: Example) -> None:
    """Count the episode that an example closes, if it does, as the pipeline's transformer does."""
    if example.touched is not None:
        priors.table.learn(example.touched, example.label, example.label_time)


def river_input(example: Example) -> dict[str, Any]:
    """The `x` of an example, as any River loop over the same records would build it."""
    x: dict[str, Any] = dict(zip(FEATURE_NAMES, msgspec.structs.astuple(example.features), strict=True))
    x["keys"] = example.keys
    x["touched"] = example.touched
    x["label_time"] = example.label_time
    return x
