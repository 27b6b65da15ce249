"""Intervals: the formulas against independent ones, and how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from stream_app.discounts.core.confidence import (
    PLANNED_MIN,
    PLANNED_UNITS,
    Spread,
    difference,
    fixed_factor,
    relative,
    sequential_factor,
    student_quantile,
)
from stream_app.discounts.core.uplift import MEASURES
from tests.discounts.core.coverage import Missed, Scenario, missed


def test_the_sequences_factor_is_that_of_the_paper() -> None:
    # Theorem 2.2 as printed, for a variance of 1: sqrt(2(tρ²+1)/(t²ρ²) · log(sqrt(tρ²+1)/α)), in standard errors 1/√t.
    alpha = 0.05
    rho = math.sqrt((-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / PLANNED_UNITS)
    for t in (50, 1_000, 20_000, 10**6):
        width = math.sqrt(2 * (t * rho**2 + 1) / (t**2 * rho**2) * math.log(math.sqrt(t * rho**2 + 1) / alpha))
        assert sequential_factor(t, alpha=alpha) == pytest.approx(width * math.sqrt(t))


def test_it_is_nearly_narrowest_where_it_was_planned() -> None:
    for planned in (500, 20_000, 10**6):
        here = sequential_factor(planned, alpha=0.05, planned=planned)
        plans = np.geomspace(planned / 100, planned * 100, 200).astype(int)
        best = min(sequential_factor(planned, alpha=0.05, planned=int(plan)) for plan in plans)
        assert here == pytest.approx(best, rel=0.002)
    assert sequential_factor(PLANNED_UNITS, alpha=0.05) == pytest.approx(3.035, abs=0.001)


def test_who_looks_after_every_draw_of_a_fair_coin_is_misled_as_seldom_as_promised() -> None:
    # The guarantee itself, where it is exact: normal draws of known variance.
    random, draws, alpha = np.random.default_rng(3), 4_000, 0.1
    factors = np.array([sequential_factor(n, alpha=alpha, planned=400) for n in range(1, draws + 1)])
    walks = np.cumsum(random.standard_normal((1_500, draws)), axis=1) / np.sqrt(np.arange(1, draws + 1))
    ever = float((np.abs(walks) > factors).any(axis=1).mean())
    usual = float((np.abs(walks) > stats.norm.ppf(1 - alpha / 2)).any(axis=1).mean())
    assert 0.03 < ever < alpha + 3 * math.sqrt(alpha * (1 - alpha) / 1_500)
    assert usual > 0.6


@pytest.mark.parametrize("degrees", [20, 31.4, 60, 1_000, 10**6])
def test_students_quantiles_are_right_from_twenty_degrees_on(degrees: float) -> None:
    for probability in (0.9, 0.975, 0.995):
        assert student_quantile(probability, degrees) == pytest.approx(stats.t.ppf(probability, degrees), abs=1e-5)


def test_the_interval_for_one_look_is_welchs() -> None:
    random = np.random.default_rng(1)
    one, other = random.exponential(3.0, 400), random.exponential(2.0, 35)
    spreads = [Spread(len(x), float(x.mean()), float(x.var(ddof=1))) for x in (one, other)]
    found = difference(*spreads, factor=fixed_factor(*spreads, alpha=0.05))
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert found == pytest.approx((expected.low, expected.high), rel=1e-5)


def test_arms_without_any_spread_have_an_interval_of_no_width() -> None:
    same = Spread(50, 1.0, 0.0)
    assert difference(same, same, factor=fixed_factor(same, same, alpha=0.05)) == (0.0, 0.0)


def test_a_ratio_is_possible_where_treatment_less_ratio_times_holdout_may_be_zero() -> None:
    treated, held_out, factor = Spread(4_000, 3.6, 400.0), Spread(1_000, 3.0, 360.0), 2.5
    found = relative(treated, held_out, factor=factor)
    assert found is not None
    for ratio, possible in ((found.low + 1e-6, True), (found.low - 1e-6, False), (found.high + 1e-6, False)):
        q = 1.0 + ratio
        reach = factor * math.sqrt(treated.squared_error + q**2 * held_out.squared_error)
        assert (abs(treated.mean - q * held_out.mean) <= reach) is possible


def test_there_is_no_ratio_to_what_may_be_nothing() -> None:
    sure = Spread(10_000, 2.0, 1.0)
    assert relative(sure, Spread(100, 0.1, 1.0), factor=2.0) is None
    assert relative(sure, Spread(10_000, -2.0, 1.0), factor=2.0) is None
    assert relative(Spread(10_000, -1.0, 1.0), sure, factor=2.0) is not None


# ---- how often the truth is held ------------------------------------------------------------------------------------

#: Experiments of each. `python -m tests.discounts.core.coverage` runs more of more.
EXPERIMENTS = 250


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(Scenario(0.04, 0.048, 0.1, units=40_000), id="a tenth held out"),
        pytest.param(Scenario(0.02, 0.024, 0.3, units=30_000), id="three tenths, rare", marks=pytest.mark.long),
        pytest.param(Scenario(0.04, 0.048, 0.5, tail=1.2), id="half, heavy tail"),
    ],
)
def test_whoever_looks_after_every_visitor_is_misled_in_less_than_five_experiments_of_a_hundred(
    scenario: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    found = missed(scenario, experiments=EXPERIMENTS, seed=11)
    with capsys.disabled():
        for place, measure in enumerate(MEASURES):
            shares = ", ".join(f"{name} {100 * getattr(found, name)[place]:.1f} %" for name in found._fields[:5])
            print(f"\n{scenario.holdout:.0%} held out, {measure}: missed {shares}", end="")
    _promises_are_kept(found)
    # What it is for: the usual interval holds its promise once, and never to those who keep looking.
    assert (found.fixed_end < 0.1).all()
    assert (found.fixed_ever > 0.1).all()


#: Experiments as small as a small shop's, planned as what they are, or as less or more.
SMALL = {
    "as planned": Scenario(0.23, 0.41, 0.5, units=1_500, planned=1_500),
    "as planned, rare": Scenario(0.06, 0.07, 0.4, units=4_000, planned=4_000),
    "as planned, heavy tail": Scenario(0.2, 0.22, 0.3, units=2_000, tail=1.2, planned=2_000),
    "a tenth was planned": Scenario(0.1, 0.12, 0.3, units=10_000, planned=1_000),
    "the least plan": Scenario(0.3, 0.35, 0.5, units=2_000, planned=PLANNED_MIN),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_small_plan_keeps_the_promise_too(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = SMALL[name]
    found = missed(scenario, experiments=2 * EXPERIMENTS, seed=12)
    usual = missed(scenario._replace(planned=PLANNED_UNITS), experiments=20, seed=12)
    same = missed(scenario, experiments=20, seed=12)
    with capsys.disabled():
        widths = ", ".join(f"{100 * (1 - share):.0f} %" for share in same.width / usual.width)
        misses = ", ".join(f"{100 * share:.1f} %" for share in found.ever)
        print(f"\n{name}: ever missed {misses}; narrower by {widths}", end="")
    _promises_are_kept(found)
    # At its end, where it was planned for that.
    if scenario.planned == scenario.units:
        assert (same.width < 0.92 * usual.width).all()


def _promises_are_kept(found: Missed) -> None:
    # Three standard errors of a share of 5 % in so many experiments.
    assert (found.ever < 0.05 + 3 * math.sqrt(0.05 * 0.95 / EXPERIMENTS)).all()
    assert (found.look < 0.025).all()
    assert (found.end < 0.025).all()
