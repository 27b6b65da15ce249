"""Lines and shapes, worked out by hand, and as scikit-learn and NumPy have them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.analytics.intervals import wilson
from stream_app.analytics.shapes import rising, straight, valley
from stream_app.analytics.survival import survival
from tests.analytics.small import unhurried

weighted = st.lists(st.tuples(st.floats(-5, 5), st.floats(0.1, 9)), min_size=1, max_size=25)


def split(points: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    values, weights = np.array(points).T
    return values, weights


def test_wilson_of_nothing_of_none_and_of_half() -> None:
    low, high = wilson(np.array([0, 0, 50]), np.array([0, 10, 100]))
    # Of 0 hits of n the upper end is z² / (n + z²) = 3.8415 / 13.8415.
    assert low.tolist() == pytest.approx([0.0, 0.0, 0.403832], abs=1e-6)
    assert high.tolist() == pytest.approx([1.0, 0.277533, 0.596168], abs=1e-6)


def test_pools_are_weighted_means() -> None:
    # 3 (weight 1) and 1 (weight 3) go back: together 1.5.
    assert rising(np.array([0.0, 3.0, 1.0, 4.0]), np.array([1.0, 1.0, 3.0, 1.0])).tolist() == [0.0, 1.5, 1.5, 4.0]


def test_a_valley_keeps_the_upturn_that_a_falling_curve_hides() -> None:
    values = np.array([5.0, 3.0, 4.0, 1.0, 2.0, 6.0])
    assert valley(values, np.ones(6)).tolist() == [5.0, 3.5, 3.5, 1.0, 2.0, 6.0]


@unhurried
@given(weighted)
def test_the_rising_fit_is_that_of_scikit_learn(points: list[tuple[float, float]]) -> None:
    isotonic = pytest.importorskip("sklearn.isotonic")
    values, weights = split(points)
    expected = isotonic.isotonic_regression(values, sample_weight=weights)
    assert rising(values, weights) == pytest.approx(expected, abs=1e-9)


@unhurried
@given(weighted)
def test_no_valley_with_another_turning_point_is_closer(points: list[tuple[float, float]]) -> None:
    values, weights = split(points)
    fit = valley(values, weights)
    error = weights @ (fit - values) ** 2
    for turn in range(len(values) + 1):
        other = np.concatenate([-rising(-values[:turn], weights[:turn]), rising(values[turn:], weights[turn:])])
        assert error <= weights @ (other - values) ** 2 + 1e-9
    steps = np.sign(np.diff(fit))
    turned = steps[steps != 0]
    assert (np.diff(turned) >= 0).all()  # once it rises it never falls


def test_a_line_through_points_on_it_is_that_line() -> None:
    time, of = np.array([5.0, 15.0, 25.0, 35.0]), np.array([1000.0, 500.0, 100.0, 200.0])
    line = straight(time, (0.1 + 0.01 * time) * of, of)
    assert line is not None
    assert (line.intercept, line.slope, line.misfit) == pytest.approx((0.1, 0.01, 0.0))
    # By hand: mean time Σnt/Σn = 22000/1800 = 12.2222; spread Σn(t−m)² = 166111.1; Σ n² (t−m)² p(1−p)/n …
    middle = of @ time / of.sum()
    p = 0.1 + 0.01 * time
    error = np.sqrt((of * (time - middle) ** 2 * p * (1 - p)).sum()) / (of * (time - middle) ** 2).sum()
    assert line.slope_high - line.slope == pytest.approx(1.959964 * error, rel=1e-5)


def test_the_line_is_that_of_weighted_least_squares_and_its_intervals_hold_what_they_promise() -> None:
    random = np.random.default_rng(1)
    time = 10.0 * (np.arange(40) + 0.5)
    of = np.round(np.linspace(400, 30, 40))
    truth = 0.05 + 0.0004 * time
    inside = np.zeros(2)
    for _ in range(400):
        hits = random.binomial(of.astype(int), truth).astype(float)
        line = straight(time, hits, of)
        assert line is not None
        slope, intercept = np.polyfit(time, hits / of, 1, w=np.sqrt(of))
        assert (line.intercept, line.slope) == pytest.approx((intercept, slope), rel=1e-6)
        inside += [line.intercept_low <= 0.05 <= line.intercept_high, line.slope_low <= 0.0004 <= line.slope_high]
    # 95 % of 400, with a standard error of 1.1 %.
    assert (np.abs(inside / 400 - 0.95) < 0.035).all()


def test_two_points_make_no_line() -> None:
    assert straight(np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 1.0]), np.array([5.0, 0.0, 5.0])) is None


# bucket        0      1      2
# at risk      10      6      2
# bought        2      3      1      hazard 0.2, 0.5, 0.5;  survival 0.8, 0.4, 0.2
# left          1      0      1
# out of sight  1      1      0
def test_hazards_survival_and_incidence_by_hand() -> None:
    found = survival(np.array([2.0, 3.0, 1.0]), np.array([1.0, 0.0, 1.0]), np.array([1.0, 1.0, 0.0]))
    assert found.at_risk.tolist() == [10.0, 6.0, 2.0]
    assert found.hazard.tolist() == [0.2, 0.5, 0.5]
    assert found.survival.tolist() == pytest.approx([0.8, 0.4, 0.2])
    # Goes on with 0.7, 0.7 · 0.5: bought by then 0.2, 0.2 + 0.7 · 0.5, … + 0.35 · 0.5.
    assert found.incidence.tolist() == pytest.approx([0.2, 0.55, 0.725])
    # Greenwood: 2/(10·8) = 0.025, + 3/(6·3), + 1/(2·1); on ln(−ln S).
    reach = 1.959964 * np.sqrt(0.025) / -np.log(0.8)
    assert found.survival_low[0] == pytest.approx(0.8 ** np.exp(reach), rel=1e-5)
    assert found.survival_high[0] == pytest.approx(0.8 ** np.exp(-reach), rel=1e-5)


def test_where_nothing_is_left_at_risk_there_is_no_hazard_and_the_curve_stays() -> None:
    found = survival(np.array([1.0, 0.0]), np.array([1.0, 0.0]), np.zeros(2))
    assert np.isnan(found.hazard[1])
    assert found.survival.tolist() == [0.5, 0.5]
