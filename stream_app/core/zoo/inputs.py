"""What every classifier sees, in order: the features that are learned from, then the priors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from river import base

from stream_app.core.features import FEATURE_NAMES
from stream_app.core.prior_tables import new_table
from stream_app.core.priors import PRIOR_NAMES
from stream_app.core.records import Keys

#: Features that are recorded but not learned from: the time of day and of the week. A checkout is told at once, a
#: session without one half an hour later, so "now" alone tells the labels apart: a cold model learns the clock.
#: Measured (docs/adr/0013): log-loss .21 without them, .49 with them in a shop's first hours; equal over a month.
CLOCK_FEATURES: Final = frozenset({"hour_sin", "hour_cos", "weekday_sin", "weekday_cos"})

#: The features that a classifier sees, and all that it sees, in order.
LEARNED_FEATURES: Final[tuple[str, ...]] = tuple(name for name in FEATURE_NAMES if name not in CLOCK_FEATURES)
INPUT_NAMES: Final[tuple[str, ...]] = (*LEARNED_FEATURES, *PRIOR_NAMES)

#: The features of an input, in order, whatever the order of its keys.
_FEATURES_OF: Final = itemgetter(*LEARNED_FEATURES)

#: Their places among all features.
_COLUMNS: Final = np.array([FEATURE_NAMES.index(name) for name in LEARNED_FEATURES])

Matrix = npt.NDArray[np.float64]

#: What an event is known by of which nothing is known.
_NO_KEYS: Final = Keys()


class Inputs(dict[str, float]):
    """The inputs of an event by name, and the `names` behind it for a classifier that looks at those, too."""

    __slots__ = ("names",)

    def __init__(self, values: Iterable[tuple[str, float]], names: Keys) -> None:
        super().__init__(values)
        self.names = names


class PurchasePriors(base.Transformer):
    """Adds the learned priors to the features. River transforms before it learns, so no example sees its own label.

    An `x` may lack features, or have None for one: it then counts as 0, as for an event to which it does not apply.
    Without `keys` every prior is 0, the base rate's; features of other names are not looked at.

    Not a `base.SupervisedTransformer`: River 0.26's pipelines do not take one for a transformer.
    """

    def __init__(self, base_rate: float) -> None:
        self.base_rate = base_rate
        self.table = new_table(base_rate)

    @property
    def _supervised(self) -> bool:
        return True

    def learn_one(self, x: dict[str, Any], y: bool) -> None:
        """Count the episode that this example closes; other examples carry no `touched` and change nothing."""
        if x.get("touched") is not None:
            self.table.learn(x["touched"], int(y), x["label_time"])

    def transform_one(self, x: dict[str, Any]) -> Inputs:
        """The features and the priors, in the order of `INPUT_NAMES`."""
        keys = x.get("keys") or _NO_KEYS
        return Inputs(zip(INPUT_NAMES, (*_features(x), *self.table.values(keys)), strict=True), keys)

    def matrix(self, x: Matrix, keys: Sequence[Keys]) -> Matrix:
        """The values of `transform_one` for N events with all their features, without the dicts.

        `x` has the shape (N, len(FEATURE_NAMES)); the result (N, len(INPUT_NAMES)), float64, C order.
        """
        found = np.empty((len(x), len(INPUT_NAMES)))
        found[:, : len(_COLUMNS)] = x[:, _COLUMNS]
        found[:, len(_COLUMNS) :] = self.values_many(keys)
        return found

    def values_many(self, keys: Sequence[Keys]) -> Matrix:
        """The priors alone, shape (N, len(PRIOR_NAMES)), read-only."""
        return np.frombuffer(self.table.values_many(keys)).reshape(len(keys), len(PRIOR_NAMES))

    def transform_many(self, X: pd.DataFrame) -> pd.DataFrame:  # noqa: N803 River's name
        """As `transform_one`, for a frame of the feature columns and a `keys` column."""
        values = np.hstack((X[list(LEARNED_FEATURES)].to_numpy(), self.values_many(X["keys"].tolist())))
        return pd.DataFrame(values, columns=list(INPUT_NAMES))


class Rows:
    """Inputs of some examples, shape (N, len(INPUT_NAMES)), and their N keys, as a model wants them."""

    def __init__(self, matrix: Matrix, keys: Sequence[Keys]) -> None:
        #: row by row, for those that compute with arrays
        self.matrix = matrix
        self.keys = keys

    def __len__(self) -> int:
        return len(self.matrix)

    def only(self, n: int) -> Rows:
        """One of them."""
        return Rows(self.matrix[n : n + 1], self.keys[n : n + 1])

    @cached_property
    def dicts(self) -> list[Inputs]:
        """By name, for all others: what `transform_one` says."""
        return [
            Inputs(zip(INPUT_NAMES, row, strict=True), keys)
            for row, keys in zip(self.matrix.tolist(), self.keys, strict=True)
        ]


def _features(x: dict[str, Any]) -> tuple[float, ...]:
    try:
        found: tuple[float, ...] = _FEATURES_OF(x)
        # The quickest way to see that each is a number (a None has no sum).
        sum(found)
    except (KeyError, TypeError):
        values = (x.get(name) for name in LEARNED_FEATURES)
        return tuple(0.0 if value is None else value for value in values)
    return found


def count_zeros(zeros: dict[str, int], x: dict[str, float]) -> None:
    """Count the inputs of a row that are 0."""
    for name, value in x.items():
        if not value:
            zeros[name] += 1
