"""Tables of counts, one thing against another: is there a difference, and how much does one say of the other?"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from stream_app.analytics.table import Floats, Integers

#: Relative change below which a series has come to its end.
_PRECISION: Final = 1e-14
_TERMS_MAX: Final = 10_000


class Association(NamedTuple):
    """Of a table of counts: Pearson's chi-squared with its degrees of freedom and its tail probability.

    `v` is Cramér's V, from 0 (none) to 1 (one tells the other): chi-squared grows with the number of rows, V does not.
    `information` is the mutual information in bits, less what chance alone would show (Miller & Madow, 1955), so it can
    be a little below 0. `smallest` is the smallest expected count: below 5 the tail probability is a rough one.
    """

    chi_squared: float
    degrees: int
    probability: float
    v: float
    information: float
    smallest: float


def association(counts: Integers) -> Association | None:
    """Work out a table of shape (R, C); rows and columns of zeros do not count. None if fewer than 2 × 2 are left."""
    counts = counts[counts.any(axis=1)][:, counts.any(axis=0)]
    if min(counts.shape) < 2:
        return None
    total = float(counts.sum())
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    expected: Floats = np.outer(rows, columns) / total
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    degrees = (len(rows) - 1) * (len(columns) - 1)
    some = counts > 0
    shares = counts[some] / total
    information = float(shares @ np.log2(counts[some] / expected[some])) - degrees / (2.0 * total * math.log(2.0))
    return Association(
        chi_squared,
        degrees,
        chi_squared_tail(chi_squared, degrees),
        math.sqrt(chi_squared / (total * (min(counts.shape) - 1))),
        information,
        float(expected.min()),
    )


def chi_squared_tail(value: float, degrees: int) -> float:
    """The probability of a chi-squared at least as large, if there is no difference.

    The upper incomplete gamma function, by its series or its continued fraction (Abramowitz & Stegun 6.5.29, 6.5.31).
    """
    if value <= 0.0:
        return 1.0
    a, x = degrees / 2.0, value / 2.0
    scale = math.exp(-x + a * math.log(x) - math.lgamma(a))
    if x < a + 1.0:
        term = total = 1.0 / a
        for n in range(1, _TERMS_MAX):
            term *= x / (a + n)
            total += term
            if term < total * _PRECISION:
                break
        return max(0.0, 1.0 - total * scale)
    # Lentz's way through the fraction.
    b = x + 1.0 - a
    c, d = 1.0 / 1e-300, 1.0 / b
    fraction = d
    for n in range(1, _TERMS_MAX):
        numerator = -n * (n - a)
        b += 2.0
        d = 1.0 / (numerator * d + b)
        c = b + numerator / c
        fraction *= d * c
        if abs(d * c - 1.0) < _PRECISION:
            break
    return min(1.0, scale * fraction)
