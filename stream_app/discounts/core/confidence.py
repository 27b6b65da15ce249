"""How far an estimate may be from the truth, for those who look once and for those who look all the time.

An interval of the usual kind holds its promise at one look, planned before. Whoever looks every day and stops when he
likes what he sees is wrong far more often. A confidence *sequence* holds at all looks together: with probability 1 − α
the truth is in every one of its intervals. It is wider, by half or so.

`sequential_factor` is the asymptotic confidence sequence with Robbins' normal mixture of Waudby-Smith, Arbour, Sinha,
Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences" (Annals of Statistics 52,
2024), Theorem 2.2, as a multiple of the standard error: what replaces 1.96. `fixed_factor` is Welch's.

Both are asymptotic. Variances that were estimated from a handful of orders are too small when the mean is too low, so
intervals begin when each arm has had some orders (`uplift.ORDERS_MIN`).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final, NamedTuple

#: Units at which the sequence is narrowest unless told otherwise. With ten times as many the factor is 7 % larger than
#: here, with a tenth 27 %, with a hundredth three times as large: rather too small a plan than too large a one.
PLANNED_UNITS: Final = 20_000

#: Plans that make sense: with fewer units than this hardly an arm has the orders that an interval takes
#: (`uplift.ORDERS_MIN`), and more than an experiment remembers are never reached.
PLANNED_MIN: Final = 200
PLANNED_MAX: Final = 4_000_000


class Interval(NamedTuple):
    """What the data leave possible."""

    low: float
    high: float


class Spread(NamedTuple):
    """A mean's estimate: of how many, the mean, and the variance of single values (denominator n − 1)."""

    n: int
    mean: float
    variance: float

    @property
    def squared_error(self) -> float:
        """The mean's squared standard error."""
        return self.variance / self.n


def sequential_factor(n: int, *, alpha: float, planned: int = PLANNED_UNITS) -> float:
    """Standard errors on either side, such that all looks together are right with probability 1 − `alpha`.

    `n` is the number of units so far, of both arms; `planned` that at which it shall be narrowest, which must be chosen
    before looking. At `planned` and `alpha` 0.05 it is 3.04.
    """
    # n · ρ², with the ρ that makes the interval (nearly) narrowest at `planned` (the paper's appendix on tuning).
    twice = -2.0 * math.log(alpha)
    scaled = n * (twice + math.log(twice + 1.0)) / planned
    return math.sqrt(2.0 * (scaled + 1.0) / scaled * math.log(math.sqrt(scaled + 1.0) / alpha))


def fixed_factor(treated: Spread, held_out: Spread, *, alpha: float) -> float:
    """Standard errors on either side for one look, by Welch's approximation: Student's t with fractional degrees."""
    one, other = treated.squared_error, held_out.squared_error
    if one + other == 0.0:
        return NormalDist().inv_cdf(1.0 - alpha / 2.0)
    degrees = (one + other) ** 2 / (one**2 / (treated.n - 1) + other**2 / (held_out.n - 1))
    return student_quantile(1.0 - alpha / 2.0, degrees)


def student_quantile(probability: float, degrees: float) -> float:
    """Student's t, by the Cornish-Fisher expansion about the normal (Abramowitz and Stegun 26.7.5).

    From 20 degrees on it errs by less than 1e-5 up to the quantile of 0.995; intervals begin with more (`ORDERS_MIN`).
    """
    x = NormalDist().inv_cdf(probability)
    terms = (
        x,
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92_160,
    )
    return sum(term / degrees**power for power, term in enumerate(terms))


def difference(treated: Spread, held_out: Spread, *, factor: float) -> Interval:
    """Of treatment less holdout, `factor` standard errors wide on either side.

    The arms' means are independent and each arm has its own variance, so this is the interval of the augmented
    inverse-propensity-weighted pseudo-outcomes (section 3 of the paper) with the arms' means as the regression: of all
    valid choices without covariates the one with the least variance. Plain inverse-propensity weighting adds the means'
    squares to the variance, and one sequence for each arm adds standard errors where this adds variances: for shares of
    90 and 10 %, a third wider.
    """
    middle = treated.mean - held_out.mean
    reach = factor * math.sqrt(treated.squared_error + held_out.squared_error)
    return Interval(middle - reach, middle + reach)


def relative(treated: Spread, held_out: Spread, *, factor: float) -> Interval | None:
    """Of treatment / holdout − 1, by Fieller's theorem (1954); None while the holdout's mean may be 0 or less.

    It holds all ratios q for which 0 is in the interval of treatment − q · holdout. For the true q that interval is one
    of a confidence sequence as well, so this holds at all looks where `factor` does.
    """
    squared = factor**2
    leading = held_out.mean**2 - squared * held_out.squared_error
    if held_out.mean <= 0.0 or leading <= 0.0:
        return None
    product = treated.mean * held_out.mean
    rest = treated.mean**2 - squared * treated.squared_error
    root = math.sqrt(max(product**2 - leading * rest, 0.0))
    return Interval((product - root) / leading - 1.0, (product + root) / leading - 1.0)
