"""The probabilities with which levels are taken, exactly as they are logged.

A bandit that draws from its posteriors and takes the best does not know how probable that was, and a log without it is
worth little later (`off_policy.py`). Here it goes the other way round: the probability that each level's posterior mean
is the best is computed first, mixed with an even exploration, and then one number, a hash of the exposure's id, decides
by these very probabilities. What is logged is therefore exact; only Thompson's rule is met to within the quadrature's
error, below 1e-3 (measured against sampling and against closed forms in tests/discounts/core/test_propensity.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from stream_app.discounts.core.records import Exposure, Levels

Array = npt.NDArray[np.float64]

#: Where each level's normal distribution puts points of the common grid, in its standard deviations. Each brings its
#: own, so that a narrow posterior beside a wide one is seen as well as by itself.
_POINTS: Final = np.concatenate((np.linspace(-8.0, -3.5, 4), np.linspace(-3.2, 3.2, 32), np.linspace(3.5, 8.0, 4)))

_ROOT_TWO: Final = math.sqrt(2.0)


def best_probabilities(means: Sequence[float], deviations: Sequence[float]) -> list[float]:
    """For each of independent normals the probability that it is the largest; they add up to 1.

    P(a) = ∫ Π_{b≠a} Φ_b(x) dΦ_a(x), by the trapezoid rule over Φ_a on the union of all the normals' grids. With five
    levels it takes half a millisecond. Raises ValueError for a deviation that is not positive or a number not finite.
    """
    middle, wide = np.asarray(means, dtype=np.float64), np.asarray(deviations, dtype=np.float64)
    if not (np.isfinite(middle).all() and np.isfinite(wide).all() and (wide > 0.0).all()):
        raise ValueError(f"posteriors: got means {list(means)} and deviations {list(deviations)}")
    grid = np.unique((middle[:, None] + wide[:, None] * _POINTS).ravel())
    below = _cumulative((grid - middle[:, None]) / wide[:, None])
    found = np.empty(len(middle))
    for place in range(len(middle)):
        others = np.prod(np.delete(below, place, axis=0), axis=0)
        found[place] = np.sum(np.diff(below[place]) * (others[1:] + others[:-1]) / 2.0)
    best: list[float] = (found / found.sum()).tolist()
    return best


def explored(best: Sequence[float], share: float) -> list[float]:
    """With an exploration `share` spread evenly: each of K becomes `(1 − share) · p + share / K`."""
    return [(1.0 - share) * p + share / len(best) for p in best]


def taken(levels: Levels, draw: float) -> tuple[float, float]:
    """The level that a number ≥ 0 and < 1 decides on, and its probability.

    Levels lie on the line in the order given: give them by rising percent, and where probabilities have moved a little
    since, the same number still decides the same nearly always. Raises ValueError if there is no level with a chance.
    """
    chosen = None
    for level, probability in levels:
        if probability > 0.0:
            chosen = (level, probability)
            if draw < probability:
                break
            draw -= probability
    if chosen is None:
        raise ValueError(f"levels: got {levels}, expected one with a probability above 0")
    return chosen


def logged(exposure: Exposure) -> dict[float, float]:
    """By level, the probability with which this situation led to it in either arm: the holdout's is no offer.

    Held-out visitors are randomised like the others, so they tell as much of the level 0. Raises ValueError if the
    exposure's own level had no chance: then the log is wrong.
    """
    chances = {0.0: exposure.holdout_share}
    for percent, probability in exposure.levels:
        chances[percent] = chances.get(percent, 0.0) + (1.0 - exposure.holdout_share) * probability
    if chances.get(exposure.percent, 0.0) <= 0.0:
        raise ValueError(
            f"exposure {exposure.exposure_id}: got {exposure.percent} percent, which had no chance by its own levels"
        )
    return chances


def _cumulative(z: Array) -> Array:
    erf = math.erf
    return np.array([0.5 + 0.5 * erf(value) for value in (z / _ROOT_TWO).ravel().tolist()]).reshape(z.shape)
