"""Figures of the arms: those of numpy, mergeable, by slice, and bounded."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_app.discounts.core.confidence import difference, relative, sequential_factor
from stream_app.discounts.core.records import Arm, Outcome
from stream_app.discounts.core.uplift import (
    ALL,
    ARMS,
    CATEGORIES_MAX,
    MEASURES,
    NONE,
    ORDERS_MIN,
    REST,
    ArmFigures,
    Uplift,
)
from tests.discounts.core.coverage import Scenario, running
from tests.discounts.core.exposures import outcome

SHOP = Scenario(0.2, 0.24, 0.25, units=3_000)


def outcomes(seed: int = 1, **fields: Any) -> list[Outcome]:
    treated, values = SHOP.draw(np.random.default_rng(seed))
    return [
        outcome(
            float(profit), revenue=float(revenue), orders=int(bought), arm=ARMS[not in_treatment],
            visitor_id=f"v{n}", **fields,
        )
        for n, (in_treatment, (bought, revenue, profit)) in enumerate(zip(treated, values, strict=True))
    ]  # fmt: skip


def counted(found: list[Outcome]) -> Uplift:
    uplift = Uplift()
    for one in found:
        uplift.add(one)
    return uplift


def columns(found: list[Outcome], arm: Arm) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([(o.converted, o.revenue, o.profit) for o in found if o.exposure.arm == arm]).T


def test_means_and_variances_are_those_of_all_values() -> None:
    found = outcomes()
    uplift = counted(found)
    for arm in ARMS:
        figures, values = uplift.slices[ALL][arm], columns(found, arm)
        assert figures.converted == values[0].sum()
        for measure, column in zip(MEASURES, values, strict=True):
            assert figures.spread(measure) == pytest.approx((len(column), column.mean(), column.var(ddof=1)))


def test_no_large_common_amount_drowns_the_variance() -> None:
    figures = ArmFigures()
    for value in (1e9, 1e9 + 1, 1e9 + 2):
        figures.add((0, value, 0.0))
    assert figures.spread("revenue").variance == pytest.approx(1.0)


@pytest.mark.parametrize("cut", [0, 1, 700, 3_000])
def test_two_parts_merged_are_the_whole(cut: int) -> None:
    found = outcomes(category="shoes")
    whole, first = counted(found), counted(found[:cut])
    first.merge(counted(found[cut:]))
    assert first.slices.keys() == whole.slices.keys()
    for which, arms in whole.slices.items():
        for arm in ARMS:
            assert first.slices[which][arm].export() == pytest.approx(arms[arm].export())


def test_the_comparison_is_that_which_was_measured_for_coverage() -> None:
    treated, values = SHOP.draw(np.random.default_rng(1))
    middle, error, told = running(treated, values)
    uplift = counted(outcomes())
    factor = sequential_factor(SHOP.units, alpha=0.05)
    assert told[-1].all()
    for place, measure in enumerate(MEASURES):
        found = uplift.compare(measure)
        assert found is not None
        assert found.value == pytest.approx(middle[-1, place])
        reach = factor * error[-1, place]
        assert found.sequential == pytest.approx((middle[-1, place] - reach, middle[-1, place] + reach))


def test_a_comparison_tells_the_difference_twice_and_the_ratio() -> None:
    uplift = counted(outcomes())
    one, other = (uplift.slices[ALL][arm].spread("conversion") for arm in ARMS)
    found = uplift.compare("conversion", alpha=0.01, planned=3_000)
    assert found is not None
    factor = sequential_factor(3_000, alpha=0.01, planned=3_000)
    assert found.sequential == difference(one, other, factor=factor)
    assert found.relative_sequential == relative(one, other, factor=factor)
    assert found.relative == pytest.approx(one.mean / other.mean - 1)
    assert found.sequential is not None
    assert found.fixed is not None
    assert found.sequential.low < found.fixed.low < found.value < found.fixed.high < found.sequential.high


def test_no_interval_is_told_before_each_arm_has_enough_orders() -> None:
    uplift = Uplift()
    assert uplift.compare("profit") is None
    for n in range(1_000):
        uplift.add(outcome(1.0, orders=1, revenue=5.0))
        uplift.add(outcome(0.0, arm="holdout", orders=int(n < ORDERS_MIN["profit"] - 1)))
    found = uplift.compare("profit")
    assert found is not None
    assert found.value == 1.0
    assert (found.sequential, found.fixed, found.relative, found.relative_sequential) == (None, None, None, None)
    early = uplift.compare("conversion")
    assert early is not None
    assert early.sequential is not None
    uplift.add(outcome(0.5, arm="holdout", orders=1))
    found = uplift.compare("profit")
    assert found is not None
    assert found.sequential is not None
    assert found.sequential.low > 0


def test_figures_are_told_by_band_and_category_of_the_first_exposure_too() -> None:
    uplift = Uplift()
    uplift.add(outcome(3.0, orders=1, band="likely", category="shoes"))
    uplift.add(outcome(1.0, orders=1, band="unlikely", category=None, arm="holdout"))
    assert list(uplift.slices) == [
        ALL, ("band", "likely"), ("category", "shoes"), ("band", "unlikely"), ("category", NONE),
    ]  # fmt: skip
    assert uplift.slices["band", "likely"]["treatment"].n == 1
    assert uplift.slices["category", NONE]["holdout"].means[2] == 1.0
    with pytest.raises(KeyError):
        uplift.compare("profit", ("band", "none"))
    with pytest.raises(ValueError, match="margin"):
        counted(outcomes()).compare("margin")


def test_past_the_bound_categories_are_counted_together_in_a_merge_as_well() -> None:
    found = [outcome(category=f"c{n % (2 * CATEGORIES_MAX)}", visitor_id=f"v{n}") for n in range(4 * CATEGORIES_MAX)]
    uplift = counted(found)
    other = counted([outcome(category="elsewhere")])
    other.merge(uplift)
    for one, units in ((uplift, len(found)), (other, len(found) + 1)):
        by_category = {name: arms["treatment"].n for (kind, name), arms in one.slices.items() if kind == "category"}
        assert len(by_category) == CATEGORIES_MAX + 1
        assert sum(by_category.values()) == one.slices[ALL]["treatment"].n == units
    assert uplift.slices["category", REST]["treatment"].n == 2 * CATEGORIES_MAX


def test_it_continues_bit_for_bit_from_what_it_exported() -> None:
    found = outcomes(category="shoes")
    whole, half, again = counted(found), counted(found[:1_500]), Uplift()
    again.restore(json.loads(msgspec.json.encode(half.export())))
    for one in found[1_500:]:
        again.add(one)
    assert again.export() == whole.export()


@pytest.mark.parametrize(
    "damaged",
    [
        [],
        [["band", "x", [0] * 7, [0] * 7]],
        [["all", "", [0] * 7]],
        [["all", "", [0] * 6, [0] * 7]],
        [["all", "", [1, 0, 0, 0, 0, 0, math.nan], [0] * 7]],
        [["all", "", [-1, 0, 0, 0, 0, 0, 0], [0] * 7]],
    ],
)
def test_what_is_no_export_is_refused_and_changes_nothing(damaged: Any) -> None:
    uplift = counted([outcome(3.0, orders=1)])
    before = uplift.export()
    with pytest.raises((ValueError, TypeError)):
        uplift.restore(damaged)
    assert uplift.export() == before
