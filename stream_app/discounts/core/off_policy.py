"""What a new policy would have earned, from the log of another one, before anybody sees it.

Each exposure tells with which probability its level was taken. Where the new policy would take that level more often,
its outcome counts for more: the mean of `π(level) / logged(level) × reward` is, on average over what could have been
drawn, what the new policy would have got (Horvitz and Thompson, 1952). Three estimates from the same rows:

- `ips`: that mean. Unbiased without clipping; wild where weights are large.
- `snips`: divided by the mean weight (Swaminathan and Joachims, "The self-normalized estimator for counterfactual
  learning", 2015). A little biased, much calmer.
- `doubly_robust`: a prediction of the reward, corrected by the weighted error of that prediction (Dudík, Langford and
  Li, "Doubly robust policy evaluation and learning", 2011). The prediction of a row is learned from the other half of
  the visitors. This is the one to read.

What no log can tell: what a new policy does at moments that the logged one did not hold eligible, and what becomes of a
visitor's later sessions, in which the logged policy went on. A level that had no chance is refused, not guessed.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from statistics import NormalDist
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from stream_app.discounts.core.confidence import Interval
from stream_app.discounts.core.propensity import logged
from stream_app.discounts.core.records import Exposure, Outcome

Array = npt.NDArray[np.float64]

#: Given an exposure: the probabilities of levels, adding up to 1. An exposure that the policy holds not eligible has
#: `{0.0: 1.0}`.
Policy = Callable[[Exposure], Mapping[float, float]]

#: Weights are cut here unless told otherwise, which biases `ips` and `doubly_robust` toward too little; `clipped` tells
#: how often. An even exploration of a tenth over five levels makes weights of up to 50, so that none is cut.
WEIGHT_MAX: Final = 50.0

#: So many weighted rows of a context and level weigh as much as the level's mean over all contexts, in the prediction.
_SHRINKING: Final = 200.0


class NoSupportError(ValueError):
    """The log cannot tell: the new policy would take levels that had no chance. `levels` counts exposures by level."""

    def __init__(self, levels: Mapping[float, int], rows: int) -> None:
        self.levels = dict(levels)
        told = ", ".join(f"{percent:g} % in {count}" for percent, count in sorted(levels.items()))
        super().__init__(
            f"no support: of {rows} logged exposures the new policy would take {told}, where these levels had "
            "no chance; let the logged policy explore them first, or evaluate a policy without them"
        )


class Estimate(NamedTuple):
    """A mean per unit with its confidence interval (normal, for one look)."""

    value: float
    interval: Interval


class Evaluation(NamedTuple):
    """What the log says of a new policy, per unit.

    `logged` is the treatment of the policy that ran, by the same estimator. `gain` is the new policy less that,
    `uplift` the new policy less no offer at all (None where that had no chance), both from the same rows, so closer
    than the single values. `effective` is the number of units that the weighted ones are worth; `clipped` is the share
    of rows whose weight was cut at the bound, `weight_largest` the largest before that.
    """

    units: int
    effective: float
    ips: Estimate
    snips: Estimate
    doubly_robust: Estimate
    logged: Estimate
    gain: Estimate
    uplift: Estimate | None
    clipped: float
    weight_largest: float


class _Rows(NamedTuple):
    """The log as arrays, in order; `chances` and `levels` by row."""

    exposures: list[Exposure]
    chances: list[dict[float, float]]
    rewards: Array
    #: by row and half of the visitors: what the *other* half predicts, by level
    predicted: list[dict[float, float]]


def evaluate(
    outcomes: Iterable[Outcome],
    policy: Policy,
    *,
    reward: Callable[[Outcome], float] = lambda outcome: outcome.profit,
    weight_max: float = WEIGHT_MAX,
    alpha: float = 0.05,
) -> Evaluation:
    """Evaluate a policy on the outcomes of one experiment, treated and held out.

    `weight_max` bounds the weights, infinity cuts none. `alpha` is the probability with which each interval may miss.

    Raises
    ------
    NoSupportError
        If the policy gives a chance to a level that had none in the same situation.
    ValueError
        If there are fewer than two outcomes, the policy's probabilities do not add up to 1, or the log is wrong.
    """
    rows = _rows(outcomes, reward)
    if len(rows.exposures) < 2:
        raise ValueError(f"evaluate: got {len(rows.exposures)} outcomes, expected two or more")
    wanted = [_probabilities(policy, exposure) for exposure in rows.exposures]
    _check_support(wanted, rows)
    weights = _weights(wanted, rows)
    cut = np.minimum(weights, weight_max)
    scores = _scores(wanted, cut, rows)
    before = [dict(exposure.levels) for exposure in rows.exposures]
    scores_before = _scores(before, np.minimum(_weights(before, rows), weight_max), rows)
    return Evaluation(
        units=len(weights),
        effective=float(weights.sum() ** 2 / (weights**2).sum()) if weights.any() else 0.0,
        ips=_estimate(cut * rows.rewards, alpha),
        snips=_self_normalised(cut, rows.rewards, alpha),
        doubly_robust=_estimate(scores, alpha),
        logged=_estimate(scores_before, alpha),
        gain=_estimate(scores - scores_before, alpha),
        uplift=_uplift(scores, weight_max, rows, alpha),
        clipped=float((weights > weight_max).mean()),
        weight_largest=float(weights.max()),
    )


def _rows(outcomes: Iterable[Outcome], reward: Callable[[Outcome], float]) -> _Rows:
    told = list(outcomes)
    exposures = [outcome.exposure for outcome in told]
    chances = [logged(exposure) for exposure in exposures]
    rewards = np.array([reward(outcome) for outcome in told], dtype=np.float64)
    halves = [crc32(exposure.visitor_id.encode()) & 1 for exposure in exposures]
    by_half = [
        _Prediction([n for n, half in enumerate(halves) if half != own], exposures, chances, rewards) for own in (0, 1)
    ]
    predicted = [
        {level: by_half[half].of(exposure.context, level) for level in chance}
        for exposure, half, chance in zip(exposures, halves, chances, strict=True)
    ]
    return _Rows(exposures, chances, rewards, predicted)


class _Prediction:
    """The mean reward by context and level, shrunk to the level's; rows count by their inverse propensity."""

    def __init__(
        self, rows: list[int], exposures: list[Exposure], chances: list[dict[float, float]], rewards: Array
    ) -> None:
        #: sums of weights and of weighted rewards by (context, level), and by level
        self._sums: defaultdict[tuple[str | None, float], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for n in rows:
            exposure = exposures[n]
            weight = 1.0 / chances[n][exposure.percent]
            for context in (exposure.context, None):
                sums = self._sums[context, exposure.percent]
                sums[0] += weight
                sums[1] += weight * float(rewards[n])

    def of(self, context: str, level: float) -> float:
        """What to expect; 0 of a level never seen."""
        weight, total = self._sums.get((None, level), (0.0, 0.0))
        everywhere = total / weight if weight else 0.0
        weight, total = self._sums.get((context, level), (0.0, 0.0))
        return (total + _SHRINKING * everywhere) / (weight + _SHRINKING)


def _probabilities(policy: Policy, exposure: Exposure) -> dict[float, float]:
    wanted = {float(level): p for level, p in policy(exposure).items() if p > 0.0}
    if not math.isclose(sum(wanted.values()), 1.0, abs_tol=1e-6):
        raise ValueError(f"policy: got probabilities {wanted} for {exposure.exposure_id}, expected a sum of 1")
    return wanted


def _check_support(wanted: list[dict[float, float]], rows: _Rows) -> None:
    missing = Counter(
        level
        for wants, chances in zip(wanted, rows.chances, strict=True)
        for level in wants
        if chances.get(level, 0.0) <= 0.0
    )
    if missing:
        raise NoSupportError(missing, len(rows.exposures))


def _weights(wanted: list[dict[float, float]], rows: _Rows) -> Array:
    return np.array(
        [
            wants.get(exposure.percent, 0.0) / chances[exposure.percent]
            for wants, chances, exposure in zip(wanted, rows.chances, rows.exposures, strict=True)
        ]
    )


def _scores(wanted: list[dict[float, float]], weights: Array, rows: _Rows) -> Array:
    """The doubly robust score of each row, whose mean is the estimate."""
    expected = np.array(
        [
            sum(p * predicted.get(level, 0.0) for level, p in wants.items())
            for wants, predicted in zip(wanted, rows.predicted, strict=True)
        ]
    )
    own = np.array([predicted[e.percent] for predicted, e in zip(rows.predicted, rows.exposures, strict=True)])
    scores: Array = expected + weights * (rows.rewards - own)
    return scores


def _uplift(scores: Array, weight_max: float, rows: _Rows, alpha: float) -> Estimate | None:
    if any(chances[0.0] <= 0.0 for chances in rows.chances):
        return None
    nothing = [{0.0: 1.0}] * len(rows.exposures)
    return _estimate(scores - _scores(nothing, np.minimum(_weights(nothing, rows), weight_max), rows), alpha)


def _estimate(values: Array, alpha: float) -> Estimate:
    mean = float(values.mean())
    return _about(mean, float(values.std(ddof=1)) / math.sqrt(len(values)), alpha)


def _self_normalised(weights: Array, rewards: Array, alpha: float) -> Estimate:
    total = float(weights.sum())
    if not total:
        # No row took what the policy takes: nothing is known.
        return Estimate(math.nan, Interval(-math.inf, math.inf))
    mean = float((weights * rewards).sum()) / total
    # By the delta method, as any ratio of means.
    return _about(mean, math.sqrt(float((weights**2 * (rewards - mean) ** 2).sum())) / total, alpha)


def _about(mean: float, error: float, alpha: float) -> Estimate:
    reach = NormalDist().inv_cdf(1.0 - alpha / 2.0) * error
    return Estimate(mean, Interval(mean - reach, mean + reach))
