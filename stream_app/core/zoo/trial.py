"""Whether a classifier that came back from a snapshot works with the River that is installed.

A state is attributes of River's objects. Another River may want one that the former did not have, and says so when it
is asked for the first time: in the midst of scoring, or of learning.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import river

from stream_app.core.records import Keys
from stream_app.core.zoo.inputs import INPUT_NAMES, Rows


def try_predicting(classifier: Any) -> None:
    """Have it predict a row in which everything is unusual. Raises ValueError if it cannot."""
    rows = _rows()
    by_rows = hasattr(classifier, "predict_rows")
    try:
        found = (
            classifier.predict_rows(rows.matrix)[0] if by_rows else classifier.predict_proba_one(rows.dicts[0])[True]
        )
        finite = math.isfinite(found)
    except Exception as error:  # whatever it is, it would come with every event
        raise _unusable("predicting", error) from None
    if not finite:
        raise ValueError(f"got a classifier that predicts {found!r}")


def try_learning(classifier: Any) -> None:
    """Have a copy that is thrown away learn a row with each label, and predict. Raises ValueError if it cannot."""
    rows = _rows()
    try:
        for label in (0, 1):
            if hasattr(classifier, "learn_rows"):
                classifier.learn_rows(rows.matrix, label)
            else:
                classifier.learn_one(rows.dicts[0], bool(label))
    except Exception as error:  # whatever it is, it would come with every example
        raise _unusable("learning", error) from None
    try_predicting(classifier)


def _rows() -> Rows:
    return Rows(np.ones((1, len(INPUT_NAMES))), [Keys()])


def _unusable(what: str, error: Exception) -> ValueError:
    return ValueError(f"got a classifier that River {river.__version__} cannot go on with ({what}: {error!r})")
