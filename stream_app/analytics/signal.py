"""How much the first few events of a session say of its outcome: the AUC of a simple model on sessions new to it.

The model is a logistic regression (iteratively reweighted least squares, with a ridge of `RIDGE`), fitted to one half
of a sample of visitors and judged on the other, and the other way round. It knows no item or category by name: what is
learned of these, and the visitor's past, comes on top in the served models, whose figures `stream-app evaluate` gives.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from stream_app.analytics.hashing import hash_texts
from stream_app.analytics.intervals import Z
from stream_app.analytics.session_features import early_matrix, has_step
from stream_app.analytics.sessions import SessionRows
from stream_app.analytics.table import Flags, Floats
from stream_app.core.pages import GROUP_CODE

#: Events after which it is asked.
AFTER: Final = (1, 2, 3, 5)

#: Against weights that run away where a column tells the outcome: 1 case's worth, of standardised columns.
RIDGE: Final = 1.0

#: With fewer of either outcome in a half there is nothing to fit or to judge.
CASES_MIN: Final = 10

_ITERATIONS: Final = 25
_CART: Final = GROUP_CODE["cart"]


class Signal(NamedTuple):
    """After so many events: the sessions that had them before a purchase, those that bought, and the AUC.

    With its 95 % interval; NaN where there are too few of either outcome.
    """

    after: int
    sessions: int
    positives: int
    auc: float
    low: float
    high: float


def signals(rows: SessionRows, came: Flags, *, target: str, utc_offset_ms: int = 0) -> list[Signal]:
    """The signal after each of `AFTER`; sessions, and whether each came to the target, shape (N,).

    Who has come to a cart by then is not asked about any more where `cart` is the target. A purchase is never among
    the steps.
    """
    found = []
    for after in AFTER:
        chosen = rows.steps >= after
        if target == "cart":
            chosen &= ~has_step(rows, _CART, within=after)
        some, positive = rows.take(chosen), came[chosen]
        half = (hash_texts(some.visitor) >> np.uint64(40)) % np.uint64(2) == 0
        x = early_matrix(some, after, utc_offset_ms=utc_offset_ms) if len(some) else np.empty((0, 1))
        found.append(Signal(after, len(some), int(positive.sum()), *_crossed(x, positive, half)))
    return found


def auc(scores: Floats, positive: Flags) -> tuple[float, float]:
    """The area under the ROC curve and its standard error (DeLong, DeLong & Clarke-Pearson, Biometrics 44, 1988)."""
    first, second = scores[positive], scores[~positive]
    above = _placements(first, second)
    below = 1.0 - _placements(second, first)
    area = float(above.mean())
    return area, float(np.sqrt(above.var(ddof=1) / len(first) + below.var(ddof=1) / len(second)))


def logistic(x: Floats, positive: Flags) -> Floats:
    """Weights of a logistic regression: shape (D + 1,), the last one the bias."""
    with_bias = np.column_stack([x, np.ones(len(x))])
    ridge = np.append(np.full(x.shape[1], RIDGE), 1e-6)
    weights = np.zeros(x.shape[1] + 1)
    for _ in range(_ITERATIONS):
        p = 1.0 / (1.0 + np.exp(-np.clip(with_bias @ weights, -30.0, 30.0)))
        curvature = (with_bias * (p * (1.0 - p))[:, None]).T @ with_bias + np.diag(ridge)
        step = np.linalg.solve(curvature, with_bias.T @ (positive - p) - ridge * weights)
        weights = weights + step
        if np.abs(step).max() < 1e-8:
            break
    found: Floats = weights
    return found


def _crossed(x: Floats, positive: Flags, half: Flags) -> tuple[float, float, float]:
    """Each half scored by the model of the other; the mean of both AUCs, so that no score of one meets the other's."""
    for part in (half, ~half):
        if min(positive[part].sum(), (~positive[part]).sum()) < CASES_MIN:
            return np.nan, np.nan, np.nan
    areas, variances = [], []
    for part in (half, ~half):
        mean, deviation = x[part].mean(axis=0), x[part].std(axis=0)
        scaled = (x - mean) / np.where(deviation > 0.0, deviation, 1.0)
        weights = logistic(scaled[part], positive[part])
        area, error = auc(scaled[~part] @ weights[:-1], positive[~part])
        areas.append(area)
        variances.append(error**2)
    middle, reach = sum(areas) / 2.0, Z * float(np.sqrt(sum(variances))) / 2.0
    return middle, max(0.0, middle - reach), min(1.0, middle + reach)


def _placements(of: Floats, among: Floats) -> Floats:
    """For each value, the share of the others that lie below it, a tie counting half."""
    ordered = np.sort(among)
    below, up_to = np.searchsorted(ordered, of, side="left"), np.searchsorted(ordered, of, side="right")
    found: Floats = (below + up_to) / (2.0 * len(among))
    return found
