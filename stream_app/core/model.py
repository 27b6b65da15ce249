"""The models: River pipelines by name, and the one that serves and learns. The only file that knows River.

Every model is the River pipeline `PurchasePriors | classifier`. Its input `x` holds the registered features by name
and, under `keys`, `touched` and `label_time`, what the priors read. Served scores equal what a bare River loop over the
same examples gives, number by number (`tests/parity`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
from river import base, compose, linear_model, optim, preprocessing

from stream_app.core.features import FEATURE_NAMES
from stream_app.core.newton import NewtonLogistic
from stream_app.core.priors import PRIOR_NAMES, PriorTable
from stream_app.core.records import Example, Keys

#: Features that are recorded but not learned from: the time of day and of the week. A checkout is told at once, a
#: session without one half an hour later, so "now" alone tells the labels apart: a cold model learns the clock.
#: Measured (docs/adr/0013): log-loss .21 without them, .49 with them in a shop's first hours; equal over a month.
CLOCK_FEATURES: Final = frozenset({"hour_sin", "hour_cos", "weekday_sin", "weekday_cos"})

#: The features that a classifier sees, and all that it sees, in order.
LEARNED_FEATURES: Final[tuple[str, ...]] = tuple(name for name in FEATURE_NAMES if name not in CLOCK_FEATURES)
INPUT_NAMES: Final[tuple[str, ...]] = (*LEARNED_FEATURES, *PRIOR_NAMES)

#: The features of an input, in order, whatever the order of its keys.
_FEATURES_OF: Final = itemgetter(*LEARNED_FEATURES)

#: Served scores are rounded to six digits and kept off 0 and 1: short in JSON, finite in log-loss.
SCORE_MIN: Final = 1e-6

#: Rows up to which one-by-one prediction is cheaper than a data frame (measured: a frame costs 1 ms, a row 0.05).
_ROWS_ONE_BY_ONE: Final = 8


class PurchasePriors(base.Transformer):
    """Adds the learned priors to the features. River transforms before it learns, so no example sees its own label.

    Not a `base.SupervisedTransformer`: River 0.26's pipelines do not take one for a transformer.
    """

    def __init__(self, base_rate: float) -> None:
        self.base_rate = base_rate
        self.table = PriorTable(base_rate)

    @property
    def _supervised(self) -> bool:
        return True

    def learn_one(self, x: dict[str, Any], y: bool) -> None:
        """Count the episode that this example closes; other examples carry no `touched` and change nothing."""
        if x.get("touched") is not None:
            self.table.learn(x["touched"], int(y), x["label_time"])

    def transform_one(self, x: dict[str, Any]) -> dict[str, float]:
        """The features and the priors, in the order of `INPUT_NAMES`."""
        return dict(zip(INPUT_NAMES, (*_FEATURES_OF(x), *self.table.values(x["keys"])), strict=True))

    def transform_many(self, X: pd.DataFrame) -> pd.DataFrame:  # noqa: N803 River's name
        """As `transform_one`, for a frame of the feature columns and a `keys` column."""
        values = np.array([self.table.values(keys) for keys in X["keys"]]).reshape(len(X), len(PRIOR_NAMES))
        return pd.DataFrame(np.hstack((X[list(LEARNED_FEATURES)].to_numpy(), values)), columns=list(INPUT_NAMES))


class NewtonLogisticRegression(base.MiniBatchClassifier):
    """`newton.NewtonLogistic` as a River classifier. The input names are fixed by the first example."""

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

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        """Probabilities of False and True."""
        p = float(self.core.predict_many(np.fromiter(x.values(), dtype=np.float64, count=self.width)[None, :])[0])
        return {False: 1.0 - p, True: p}

    def predict_proba_many(self, X: pd.DataFrame) -> pd.DataFrame:  # noqa: N803 River's name
        """Columns False and True, one row per row of X."""
        p = self.core.predict_many(np.ascontiguousarray(X.to_numpy(dtype=np.float64)))
        return pd.DataFrame({False: 1.0 - p, True: p}, index=X.index)


class ZooEntry(NamedTuple):
    """A classifier by name: how to build it, how its state travels as plain values, and what it is."""

    build: Callable[[float], Any]
    export: Callable[[Any], dict[str, Any]]
    restore: Callable[[Any, dict[str, Any]], None]
    about: str


def _build_sgd(base_rate: float) -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(
        optimizer=optim.SGD(0.01), intercept_init=float(np.log(base_rate / (1.0 - base_rate)))
    )


def _export_sgd(classifier: Any) -> dict[str, Any]:
    scaler, regression = classifier["StandardScaler"], classifier["LogisticRegression"]
    weights = regression.weights
    return {
        "count": max(scaler.counts.values(), default=0),
        "mean": np.array([scaler.means.get(name, 0.0) for name in INPUT_NAMES]),
        "variance": np.array([scaler.vars.get(name, 0.0) for name in INPUT_NAMES]),
        "weights": np.array([weights.get(name, 0.0) for name in INPUT_NAMES]),
        "intercept": float(regression.intercept),
        "iterations": int(regression.optimizer.n_iterations),
    }


def _restore_sgd(classifier: Any, arrays: dict[str, Any]) -> None:
    for name in ("mean", "variance", "weights"):
        if arrays[name].shape != (len(INPUT_NAMES),) or not np.isfinite(arrays[name]).all():
            raise ValueError(f"sgd snapshot: got {name} of shape {arrays[name].shape} or with a non-finite number")
    scaler, regression = classifier["StandardScaler"], classifier["LogisticRegression"]
    scaler.counts.update(dict.fromkeys(INPUT_NAMES, arrays["count"]))
    scaler.means.update(zip(INPUT_NAMES, arrays["mean"].tolist(), strict=True))
    scaler.vars.update(zip(INPUT_NAMES, arrays["variance"].tolist(), strict=True))
    for name, value in zip(INPUT_NAMES, arrays["weights"].tolist(), strict=True):
        regression._weights[name] = value
    regression.intercept = arrays["intercept"]
    regression.optimizer.n_iterations = arrays["iterations"]


#: The classifiers by name. Each has passed the checks of `tests/core/test_model.py`.
ZOO: Final[dict[str, ZooEntry]] = {
    "newton": ZooEntry(
        lambda base_rate: NewtonLogisticRegression(base_rate=base_rate),
        lambda classifier: classifier.core.export(),
        lambda classifier, arrays: classifier.core.restore(arrays),
        "logistic regression by online Newton steps on z-scores: the best measured, about 25 µs to learn an example",
    ),
    "sgd": ZooEntry(
        _build_sgd,
        _export_sgd,
        _restore_sgd,
        "River's StandardScaler | LogisticRegression(SGD 0.01): the plain baseline",
    ),
}


class NonFiniteError(ValueError):
    """Learning made the model non-finite; the caller must go back to its last good state."""


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
        self.classifier = self._entry.build(base_rate)
        self.pipeline = compose.Pipeline(("priors", self.priors), ("classifier", self.classifier))

    def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
        """Probabilities of a checkout, rounded to six digits, shape (N,), for (N, len(FEATURE_NAMES)) and N keys."""
        if len(x) <= _ROWS_ONE_BY_ONE:
            rows = [
                self.pipeline.predict_proba_one({**dict(zip(FEATURE_NAMES, row, strict=True)), "keys": key})[True]
                for row, key in zip(x.tolist(), keys, strict=True)
            ]
            p = np.array(rows)
        else:
            frame = pd.DataFrame(x, columns=list(FEATURE_NAMES))
            frame["keys"] = pd.Series(list(keys), dtype=object)
            # A logit beyond ±709 overflows to a probability of 0 or 1, which is right; clipped below.
            with np.errstate(over="ignore"):
                p = self.pipeline.predict_proba_many(frame)[True].to_numpy()
        result: npt.NDArray[np.float64] = np.clip(np.round(p, 6), SCORE_MIN, 1.0 - SCORE_MIN)
        return result

    def learn(self, example: Example) -> None:
        """Learn one example, which must be finite; `export` refuses to hand out a model that is not."""
        self.pipeline.learn_one(river_input(example), bool(example.label))

    def export(self) -> dict[str, Any]:
        """The classifier's state as plain numbers and arrays; the priors travel apart, entry by entry."""
        arrays = self._entry.export(self.classifier)
        for name, value in arrays.items():
            if not np.isfinite(value).all():
                raise NonFiniteError(f"model {self.name}: {name} became non-finite")
        return arrays

    def restore(self, arrays: dict[str, Any]) -> None:
        """Continue from an `export`.

        Raises
        ------
        ValueError
            If it does not fit this model.
        """
        try:
            self._entry.restore(self.classifier, arrays)
        except (KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"model {self.name}: got a snapshot that is not its own ({error!r})") from None


def river_input(example: Example) -> dict[str, Any]:
    """The `x` of an example, as any River loop over the same records would build it."""
    x: dict[str, Any] = dict(zip(FEATURE_NAMES, msgspec.structs.astuple(example.features), strict=True))
    x["keys"] = example.keys
    x["touched"] = example.touched
    x["label_time"] = example.label_time
    return x
