"""How often the intervals of an uplift hold the truth, measured: `python -m tests.discounts.core.coverage`.

Experiments with rare orders and heavy-tailed values, looked at after every single unit. An experiment is `wrong` when
any of its looks missed the truth; `ever` is the share of such experiments, which the sequence keeps below 5 % and the
usual interval does not; `look` is the share of all looks that missed, `end` that of the last ones.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_app.discounts.core.confidence import sequential_factor
from stream_app.discounts.core.uplift import MEASURES, ORDERS_MIN

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Scenario(NamedTuple):
    """A shop under experiment. `tail` is the standard deviation of an order value's logarithm."""

    base: float
    lifted: float
    holdout: float
    units: int = 20_000
    percent: float = 10.0
    margin: float = 0.35
    tail: float = 1.0
    planned: int = 20_000

    def truth(self) -> Array:
        """Treatment less holdout by measure."""
        listed, kept = 80.0, 1.0 - self.percent / 100.0
        with_offer = self.lifted * np.array([1.0, listed * kept, listed * (self.margin - self.percent / 100.0)])
        found: Array = with_offer - self.base * np.array([1.0, listed, listed * self.margin])
        return found

    def draw(self, random: np.random.Generator) -> tuple[Mask, Array]:
        """Whether each unit is treated, and its measures: shape (units, measures)."""
        treated = random.random(self.units) >= self.holdout
        bought = random.random(self.units) < np.where(treated, self.lifted, self.base)
        # Of mean 80 whatever the tail.
        listed = bought * 80.0 * np.exp(self.tail * random.standard_normal(self.units) - self.tail**2 / 2.0)
        discount = np.where(treated, self.percent / 100.0, 0.0)
        return treated, np.stack((bought * 1.0, listed * (1.0 - discount), listed * (self.margin - discount)), axis=1)


class Missed(NamedTuple):
    """By measure, the shares of experiments and looks that missed; and the half-widths at the end, on average."""

    ever: Array
    look: Array
    end: Array
    fixed_ever: Array
    fixed_end: Array
    width: Array


def running(treated: Mask, values: Array) -> tuple[Array, Array, Mask]:
    """After each unit: differences, their standard errors, and whether they are told: shape (units, measures)."""
    total, squared_error = np.zeros_like(values), np.zeros_like(values)
    told = np.ones(values.shape, dtype=np.bool_)
    enough = np.array([ORDERS_MIN[measure] for measure in MEASURES])
    for sign, arm in ((1.0, treated), (-1.0, ~treated)):
        n = np.maximum(np.cumsum(arm), 1.0)[:, None]
        of_arm = np.where(arm[:, None], values, 0.0)
        sums, squares = np.cumsum(of_arm, axis=0), np.cumsum(of_arm**2, axis=0)
        mean = sums / n
        total += sign * mean
        squared_error += np.maximum(squares - n * mean**2, 0.0) / np.maximum(n - 1.0, 1.0) / n
        told &= sums[:, :1] >= enough
    return total, np.sqrt(squared_error), told


def missed(scenario: Scenario, *, experiments: int, seed: int) -> Missed:
    """Run so many experiments."""
    random = np.random.default_rng(seed)
    factors = np.array(
        [sequential_factor(n, alpha=0.05, planned=scenario.planned) for n in range(1, scenario.units + 1)]
    )[:, None]
    rows: dict[str, list[Any]] = {name: [] for name in Missed._fields}
    for _ in range(experiments):
        found, error, told = running(*scenario.draw(random))
        off = np.abs(found - scenario.truth())
        sequential, fixed = told & (off > factors * error), told & (off > 1.96 * error)
        rows["ever"].append(sequential.any(axis=0))
        rows["look"].append(sequential.sum(axis=0) / np.maximum(told.sum(axis=0), 1))
        rows["end"].append(sequential[-1])
        rows["fixed_ever"].append(fixed.any(axis=0))
        rows["fixed_end"].append(fixed[-1])
        rows["width"].append((factors * error)[-1])
    return Missed(**{name: np.mean(row, axis=0) for name, row in rows.items()})


#: Rare orders, small and even holdouts, an effect and none; at 1.4 one order in a thousand is 28 times the mean.
SCENARIOS = (
    Scenario(0.03, 0.03, 0.1, units=60_000),
    Scenario(0.02, 0.024, 0.1, units=60_000),
    Scenario(0.03, 0.036, 0.1, units=60_000),
    Scenario(0.02, 0.024, 0.3, units=40_000),
    Scenario(0.04, 0.048, 0.5),
    Scenario(0.03, 0.036, 0.2, units=40_000, tail=1.4),
    Scenario(0.2, 0.24, 0.2),
)


def main(experiments: int) -> None:
    """Print a row for each scenario and measure."""
    print("| base | lifted | holdout | units | tail | measure | ever | look | end | fixed: ever | fixed: end |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for seed, scenario in enumerate(SCENARIOS):
        found = missed(scenario, experiments=experiments, seed=seed)
        for place, measure in enumerate(MEASURES):
            shares = " | ".join(f"{100 * share[place]:.2f} %" for share in found[:5])
            told = f"{scenario.base} | {scenario.lifted} | {scenario.holdout} | {scenario.units} | {scenario.tail}"
            print(f"| {told} | {measure} | {shares} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
