"""What the offers did: conversion, revenue and profit of each arm, and the difference that only the arm can explain.

Figures are of matured outcomes, each visitor once. Means and variances are Welford's, so that they can be merged (Chan,
Golub and LeVeque, 1979) and no sum of squares cancels. Beside all units there are those of each band and category of
the first exposure. Each interval keeps its promise by itself: of twenty categories without any effect, one 95 %
interval may be expected to leave zero out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from stream_app.discounts.core.confidence import (
    PLANNED_UNITS,
    Interval,
    Spread,
    difference,
    fixed_factor,
    relative,
    sequential_factor,
)
from stream_app.discounts.core.records import Arm, Outcome

ARMS: Final[tuple[Arm, Arm]] = ("treatment", "holdout")

#: What is compared, all per unit: the share that ordered, and money.
MEASURES: Final = ("conversion", "revenue", "profit")

#: Units with an order that each arm must have before an interval is told. With fewer, the estimated variance is too
#: small whenever the mean is too low, the more so where a few large orders make the mean: of experiments looked at
#: after every unit, up to 8 % misled about money with 30, 5 % with 60, 4 % with 100 (tests/discounts/core/coverage.py).
ORDERS_MIN: Final = {"conversion": 30, "revenue": 100, "profit": 100}

#: Categories (and bands) with figures of their own, by first appearance; the others share `REST`.
CATEGORIES_MAX: Final = 50
REST: Final = "(other)"
NONE: Final = "(none)"

#: Slices: ("all", ""), ("band", its name), ("category", its name).
Slice = tuple[str, str]
ALL: Final[Slice] = ("all", "")


class Difference(NamedTuple):
    """One measure, treatment against holdout. Intervals are None before each arm has `ORDERS_MIN` buyers.

    `sequential` holds whenever and as often as one looks, `fixed` at a single look that was planned. `relative` is
    treatment / holdout − 1 with its sequential interval; None where the holdout's mean may be 0.
    """

    value: float
    sequential: Interval | None
    fixed: Interval | None
    relative: float | None
    relative_sequential: Interval | None


class ArmFigures:
    """Units of one arm, and the mean and spread of each measure."""

    def __init__(self) -> None:
        self.n = 0
        #: by measure: means, and sums of squared deviations from them
        self.means = [0.0] * len(MEASURES)
        self.squares = [0.0] * len(MEASURES)

    @property
    def converted(self) -> int:
        """Units with an order."""
        return round(self.means[0] * self.n)

    def add(self, values: Sequence[float]) -> None:
        """Take a unit's values, in the order of `MEASURES`."""
        self.n += 1
        for place, value in enumerate(values):
            deviation = value - self.means[place]
            self.means[place] += deviation / self.n
            self.squares[place] += deviation * (value - self.means[place])

    def merge(self, other: ArmFigures) -> None:
        """Take all that another has taken."""
        both = self.n + other.n
        if not other.n:
            return
        for place in range(len(MEASURES)):
            deviation = other.means[place] - self.means[place]
            self.means[place] += deviation * other.n / both
            self.squares[place] += other.squares[place] + deviation**2 * self.n * other.n / both
        self.n = both

    def spread(self, measure: str) -> Spread:
        """Of one measure; its variance is NaN with fewer than two units. Raises ValueError for an unknown one."""
        if measure not in MEASURES:
            raise ValueError(f"measure: got {measure!r}, expected one of {', '.join(MEASURES)}")
        place = MEASURES.index(measure)
        return Spread(self.n, self.means[place], self.squares[place] / (self.n - 1) if self.n > 1 else math.nan)

    def export(self) -> list[Any]:
        """Plain values to continue from."""
        return [self.n, *self.means, *self.squares]

    @classmethod
    def restored(cls, values: Sequence[float]) -> ArmFigures:
        """From an `export`; raises ValueError if it is none."""
        n, *numbers = values
        if len(numbers) != 2 * len(MEASURES) or n != int(n) or n < 0 or not all(map(math.isfinite, numbers)):
            raise ValueError(
                f"figures: got {list(values)}, expected n, {len(MEASURES)} means and as many sums of squares"
            )
        figures = cls()
        figures.n = int(n)
        figures.means, figures.squares = numbers[: len(MEASURES)], numbers[len(MEASURES) :]
        return figures


class Uplift:
    """The figures of one experiment, by slice and arm."""

    def __init__(self) -> None:
        #: in order of appearance, `ALL` first
        self.slices: dict[Slice, dict[Arm, ArmFigures]] = {ALL: _arms()}

    def add(self, outcome: Outcome) -> None:
        """Take a unit's outcome."""
        values = (outcome.converted, outcome.revenue, outcome.profit)
        exposure = outcome.exposure
        for which in (ALL, ("band", exposure.band), ("category", exposure.category or NONE)):
            self._figures(which)[exposure.arm].add(values)

    def merge(self, other: Uplift) -> None:
        """Take all that another one of the same experiment has taken, of other visitors."""
        for which, theirs in other.slices.items():
            mine = self._figures(which)
            for arm in ARMS:
                mine[arm].merge(theirs[arm])

    def compare(
        self, measure: str, which: Slice = ALL, *, alpha: float = 0.05, planned: int = PLANNED_UNITS
    ) -> Difference | None:
        """Treatment less holdout in one of `MEASURES`; None while an arm has nobody.

        `alpha` is the probability with which an interval (the sequential ones: any of all looks) may miss the truth,
        `planned` the number of units of both arms at which the sequential ones shall be narrowest. Both are chosen
        before the experiment. Raises KeyError for a slice that is not there, ValueError for an unknown measure.
        """
        treated, held_out = (self.slices[which][arm] for arm in ARMS)
        one, other = treated.spread(measure), held_out.spread(measure)
        if not (one.n and other.n):
            return None
        value = one.mean - other.mean
        ratio = one.mean / other.mean - 1.0 if other.mean > 0.0 else None
        if min(treated.converted, held_out.converted) < ORDERS_MIN[measure]:
            return Difference(value, None, None, ratio, None)
        always = sequential_factor(one.n + other.n, alpha=alpha, planned=planned)
        return Difference(
            value,
            difference(one, other, factor=always),
            difference(one, other, factor=fixed_factor(one, other, alpha=alpha)),
            ratio,
            relative(one, other, factor=always),
        )

    def export(self) -> list[Any]:
        """Plain values to continue from."""
        return [[*which, *(arms[arm].export() for arm in ARMS)] for which, arms in self.slices.items()]

    def restore(self, values: list[Any]) -> None:
        """Continue from an `export`.

        Raises
        ------
        ValueError, TypeError
            If it is none; nothing has changed then.
        """
        slices = {
            (str(kind), str(name)): dict(zip(ARMS, map(ArmFigures.restored, arms), strict=True))
            for kind, name, *arms in values
        }
        if ALL not in slices:
            raise ValueError("uplift: got no figures of all units")
        self.slices = slices

    def _figures(self, which: Slice) -> dict[Arm, ArmFigures]:
        """Of a slice, or of what it is counted with once there are enough of its kind."""
        kind = which[0]
        if which not in self.slices and sum(known == kind for known, _ in self.slices) >= CATEGORIES_MAX:
            which = (kind, REST)
        return self.slices.setdefault(which, _arms())


def _arms() -> dict[Arm, ArmFigures]:
    return {arm: ArmFigures() for arm in ARMS}
