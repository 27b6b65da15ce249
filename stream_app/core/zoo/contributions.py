"""What each input has to do with a score: its contribution to the logit.

For a classifier that is linear in something made of one input each, contributions are *exact*: what an input adds to
the logit beyond what its usual value would add. They and a base, the logit of an all-usual row, add up to its logit.

    newton   w·z, z the clipped z-score: usual is the mean; base: the bias
    sgd      w·z; base: the intercept
    bins     the weight of the bin that the input falls into, less that of its usual value's; base: intercept and those
    blend    the mean of the two models'

Every other classifier is asked again with one group of inputs at a time at their usual values, and what that takes off
the logit is the group's contribution (*occlusion*). It is an approximation: two groups that tell the same both seem to
matter little, since each stands in for the other, and what two say only together is counted for both. So they do not
add up.

Where it matters that there is such a value, usual is 0 for an input that mostly is, and else the mean: a twentieth of a
cart is a bin that no visit was ever in, and its weight says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from river import base, compose

from stream_app.core.calibration import logit
from stream_app.core.records import Keys
from stream_app.core.zoo.bins import Z_MAX, Bins
from stream_app.core.zoo.blend import MeanLogit
from stream_app.core.zoo.graph import class_name
from stream_app.core.zoo.inputs import INPUT_NAMES, Inputs
from stream_app.core.zoo.newton import NewtonLogisticRegression
from stream_app.core.zoo.warm_start import WarmStart

if TYPE_CHECKING:
    from stream_app.core.zoo.scaling import ZScores

Matrix = npt.NDArray[np.float64]

#: The logit of an all-usual row, and what each input of N rows adds to it, shape (N, len(INPUT_NAMES)).
Additive = tuple[float, Matrix]

#: By name: a process whose model has none of them must not import them, which takes a second.
_Z_SCORES: Final = "stream_app.core.zoo.scaling:ZScores"
_REGRESSION: Final = "river.linear_model.log_reg:LogisticRegression"
_SCALED: Final = (_Z_SCORES, _REGRESSION)
_BINNED: Final = (_Z_SCORES, class_name(Bins), _REGRESSION)


def additive(classifier: base.Classifier, inputs: Matrix) -> Additive | None:
    """The exact contributions of inputs of shape (N, len(INPUT_NAMES)), None for a classifier that has none.

    The base and a row's sum are its logit before a probability beyond 1e-9 of 0 or 1 is cut off. A row's contributions
    do not depend on the other rows.
    """
    if isinstance(classifier, NewtonLogisticRegression):
        return float(classifier.core.weights[-1]), classifier.core.terms(inputs)
    if isinstance(classifier, MeanLogit):
        first, second = additive(classifier.first, inputs), additive(classifier.second, inputs)
        if first is None or second is None:
            return None
        return (first[0] + second[0]) / 2.0, (first[1] + second[1]) / 2.0
    if isinstance(classifier, compose.Pipeline):
        steps = list(classifier.steps.values())
        kinds = tuple(class_name(type(step)) for step in steps)
        if kinds == _SCALED:
            return _scaled(steps, inputs)
        if kinds == _BINNED:
            return _binned(steps, inputs)
    return None


def occluded(
    classifier: base.Classifier, inputs: Matrix, groups: Sequence[Sequence[int]], *, keys: Sequence[Keys] | None = None
) -> tuple[float, Matrix, Matrix]:
    """The logit of an all-usual row, those of the rows, and approximate contributions, shape (N, len(groups)).

    `groups` are columns of `inputs`. Asks the classifier once for each group of each row, and once for the row itself.
    What it makes of the `keys` themselves is in the logits, and is none of a group's.
    """
    names = [Keys()] * len(inputs) if keys is None else keys
    instead = usual(classifier)
    logits, found = np.zeros(len(inputs)), np.zeros((len(inputs), len(groups)))
    for n, row in enumerate(inputs):
        logits[n] = _logit(classifier, row, names[n])
        for m, group in enumerate(groups):
            columns = list(group)
            hidden = row.copy()
            hidden[columns] = instead[columns]
            found[n, m] = logits[n] - _logit(classifier, hidden, names[n])
    return _logit(classifier, instead, Keys()), logits, found


def usual(classifier: base.Classifier) -> Matrix:
    """The usual value of each input over what the classifier has learned, shape (len(INPUT_NAMES),).

    Raises TypeError for a classifier of which no part keeps it.
    """
    part: Any = classifier
    if isinstance(part, compose.Pipeline):
        part = next(iter(part.steps.values()))
    elif isinstance(part, base.Ensemble):
        # Each member sees an example a random number of times: what is usual to any one is a fair sample of all.
        return usual(part[0])
    if _Z_SCORES in map(class_name, type(part).__mro__):
        learned = part.counts["events"]
    elif isinstance(part, WarmStart):
        learned = part.learned
    else:
        raise TypeError(f"{type(classifier).__name__} keeps no means of its inputs: begin it with ZScores or WarmStart")
    return np.array([0.0 if 2 * part.zeros[name] > learned else part.means[name] for name in INPUT_NAMES])


def _scaled(steps: list[Any], inputs: Matrix) -> Additive:
    scaler, regression = steps
    weights = regression.weights
    return float(regression.intercept), _z(scaler, inputs) * np.array([weights.get(name, 0.0) for name in INPUT_NAMES])


def _binned(steps: list[Any], inputs: Matrix) -> Additive:
    scaler, cut, regression = steps
    weights, names = regression.weights, cut.names
    table = np.array([[weights.get(name, 0.0) for name in bins.values()] for bins in names])
    # Bins are numbered from the one that begins at the mean.
    middle = list(names[0]).index(0)
    rows = np.vstack((usual(scaler), inputs))
    places = np.floor(np.clip(_z(scaler, rows), -Z_MAX, Z_MAX) / cut.width).astype(np.intp) + middle
    found = table[np.arange(len(names)), places]
    return float(regression.intercept + found[0].sum()), found[1:] - found[0]


def _z(scaler: ZScores, inputs: Matrix) -> Matrix:
    """As the scaler's own `transform_one`, to the bit: at the edge of a bin the last one decides."""
    means = np.array([scaler.means[name] for name in INPUT_NAMES])
    deviations = np.array([scaler.vars[name] ** 0.5 or np.inf for name in INPUT_NAMES])
    result: Matrix = (inputs - means) / deviations
    return result


def _logit(classifier: base.Classifier, row: Matrix, keys: Keys) -> float:
    return logit(float(classifier.predict_proba_one(Inputs(zip(INPUT_NAMES, row.tolist(), strict=True), keys))[True]))
