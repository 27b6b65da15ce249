"""Fits of a share against time that assume a shape, or as little of one as can be.

`valley` may fall, then rise: the shape-free fit that does not hide an upturn at the end, as one that may only fall
would. It is the best of all such curves by weighted squares (unimodal regression: Frisén, "Unimodal regression", The
Statistician 35, 1986), found by pool-adjacent-violators from both ends. `straight` is the line that the eye wants.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stream_app.analytics.intervals import Z
from stream_app.analytics.table import Floats


def rising(values: Floats, weights: Floats) -> Floats:
    """The curve that never falls and is closest to N values by weighted squares; weights must be above 0."""
    return _pooled(values, weights)[0]


def valley(values: Floats, weights: Floats) -> Floats:
    """The curve that falls, then rises (either part may be empty) and is closest to N values by weighted squares."""
    count = len(values)
    if not count:
        return values
    # Errors of the best falling curve through the first m values, and of the best rising one through those from m on.
    falling = _pooled(-values, weights)[1]
    onward = _pooled(-values[::-1], weights[::-1])[1][::-1]
    split = int(np.argmin(np.append(0.0, falling) + np.append(onward, 0.0)))
    return np.concatenate([-rising(-values[:split], weights[:split]), rising(values[split:], weights[split:])])


def _pooled(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """The rising fit, and for each prefix the weighted squared error of its own rising fit."""
    pools: list[tuple[float, float, int, float]] = []  # mean, weight, values, error within
    errors = np.empty(len(values))
    total = 0.0
    for place, (value, weight) in enumerate(zip(values.tolist(), weights.tolist(), strict=True)):
        pool = (value, weight, 1, 0.0)
        while pools and pools[-1][0] >= pool[0]:
            mean, mass, number, error = pools.pop()
            both = mass + pool[1]
            apart = mass * pool[1] / both * (mean - pool[0]) ** 2
            total += apart
            pool = ((mean * mass + pool[0] * pool[1]) / both, both, number + pool[2], error + pool[3] + apart)
        pools.append(pool)
        errors[place] = total
    fit = np.repeat([pool[0] for pool in pools], [pool[2] for pool in pools]) if pools else np.empty(0)
    return fit, errors


class Line(NamedTuple):
    """share ≈ intercept + slope · time, with 95 % intervals.

    `misfit` is the chi-squared of what the line leaves, over its degrees of freedom: about 1 if there is a line.
    """

    intercept: float
    intercept_low: float
    intercept_high: float
    slope: float
    slope_low: float
    slope_high: float
    misfit: float
    points: int


def straight(time: Floats, hits: Floats, of: Floats) -> Line | None:
    """Fit a line to shares by least squares weighted by their counts; None with fewer than three of them.

    The intervals take the shares as binomial around the line, each with its own variance: a sandwich, which does not
    need the weights to be the best ones.
    """
    some = of > 0.0
    time, hits, of = time[some], hits[some], of[some]
    if len(time) < 3:
        return None
    shares, mass = hits / of, of.sum()
    middle = float(of @ time / mass)
    spread = float(of @ (time - middle) ** 2)
    level = float(of @ shares / mass)
    slope = float(of @ ((time - middle) * shares) / spread)
    # Half a hit at least: a variance of 0 would make a stretch without purchases infinitely certain.
    around = np.clip(level + slope * (time - middle), 0.5 / of, 1.0 - 0.5 / np.maximum(of, 2.0))
    variance = around * (1.0 - around)
    slope_error = float(np.sqrt(of @ ((time - middle) ** 2 * variance))) / spread
    # The part of each point in the intercept, which is the line at 0.
    parts = of / mass - middle * of * (time - middle) / spread
    intercept = level - slope * middle
    intercept_error = float(np.sqrt(np.sum(parts**2 * variance / of)))
    misfit = float(np.sum(of * (shares - level - slope * (time - middle)) ** 2 / variance)) / (len(time) - 2)
    return Line(
        intercept,
        intercept - Z * intercept_error,
        intercept + Z * intercept_error,
        slope,
        slope - Z * slope_error,
        slope + Z * slope_error,
        misfit,
        len(time),
    )
