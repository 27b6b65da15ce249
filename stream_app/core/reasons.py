"""Reasons of a score: what a model makes of its inputs, gathered into what a shop has words for.

A reason is a group of inputs that tell of one thing, such as the cart. Its contribution is the sum of theirs to the
logit, so reasons add up wherever the inputs' contributions do (`zoo/contributions.py`), and e to its power is the
factor by which it moves the odds of a purchase. Inputs of a group repeat one another, and a model shares its weight out
among them as it happens to; their sum is what it says of the thing.

A reason says what speaks for or against in the eyes of the model. It is not a cause: a visitor who is led to put
something into a cart does not become one who would have done so alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_app.core.model import INPUT_NAMES, IntentModel
from stream_app.core.reason_catalogue import REASON_IDS, REASONS, REASONS_MAX
from stream_app.core.records import Keys, Reasons
from stream_app.core.zoo.contributions import additive, occluded

Matrix = npt.NDArray[np.float64]

#: Digits of a contribution in a score record: a thousandth is a thousandth of the odds.
_DIGITS: Final = 3


#: The columns of each reason; all one behind the other, and where each begins there.
_COLUMNS: Final = [[INPUT_NAMES.index(name) for name in reason.inputs] for reason in REASONS]
_ORDER: Final = np.array([column for columns in _COLUMNS for column in columns])
_STARTS: Final = np.cumsum([0, *map(len, _COLUMNS[:-1])])


class Explanation(NamedTuple):
    """Of N scores: `base`, the logit of an all-usual row; each row's logit; what the reasons contribute, (N, R).

    Where `exact`, base and a row's contributions are its logit, and `inputs` has those of each input, (N, W). Elsewhere
    something is left over, and there are none by input.
    """

    base: float
    logits: Matrix
    reasons: Matrix
    inputs: Matrix | None

    @property
    def exact(self) -> bool:
        """Whether the contributions add up."""
        return self.inputs is not None


def explain(model: IntentModel, x: Matrix, keys: Sequence[Keys]) -> Explanation:
    """What a model's scores of features of shape (N, len(FEATURES)) and N keys come from.

    Logits are those behind the served score, the calibrator's line included. A row's numbers do not depend on the
    other rows.
    """
    inputs = model.priors.matrix(x, keys)
    calibrator = model.calibrator
    slope, offset = (calibrator.slope, calibrator.offset) if calibrator.serving else (1.0, 0.0)
    found = additive(model.classifier, inputs)
    if found is None:
        base, logits, reasons = occluded(model.classifier, inputs, _COLUMNS, keys=keys)
        return Explanation(slope * base + offset, slope * logits + offset, slope * reasons, None)
    base, each = slope * found[0] + offset, slope * found[1]
    # Sums along contiguous rows: the same for one row and for many.
    reasons = np.add.reduceat(np.ascontiguousarray(each[:, _ORDER]), _STARTS, axis=1)
    return Explanation(base, base + reasons.sum(axis=1), reasons, each)


def strongest(reasons: Matrix) -> list[Reasons]:
    """Of each row the ids and contributions of the strongest, rounded; what rounds to nothing is none."""
    order = np.argsort(-np.abs(reasons), axis=1, kind="stable")[:, :REASONS_MAX]
    values = np.round(np.take_along_axis(reasons, order, axis=1), _DIGITS).tolist()
    return [
        [(REASON_IDS[place], value) for place, value in zip(places, row, strict=True) if value]
        for places, row in zip(order.tolist(), values, strict=True)
    ]
