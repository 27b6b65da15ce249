"""The inputs that online classifiers see, as a matrix: the learned features, and the priors as they are right now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from stream_app.core.features import FEATURE_NAMES
from stream_app.core.model import INPUT_NAMES
from stream_app.core.priors import PRIOR_NAMES, PriorTable
from stream_app.core.records import Keys

#: The features among the inputs, which come before the priors, by their place among all features.
_FEATURE_PLACES: Final = [FEATURE_NAMES.index(name) for name in INPUT_NAMES[: len(INPUT_NAMES) - len(PRIOR_NAMES)]]


def inputs(x: npt.NDArray[np.float64], keys: Sequence[Keys], table: PriorTable) -> npt.NDArray[np.float32]:
    """The inputs of N events, shape (N, len(INPUT_NAMES)), in the order of `INPUT_NAMES`."""
    found = np.empty((len(x), len(INPUT_NAMES)), dtype=np.float32)
    found[:, : len(_FEATURE_PLACES)] = x[:, _FEATURE_PLACES]
    for row, key in enumerate(keys):
        found[row, len(_FEATURE_PLACES) :] = table.values(key)
    return found
