"""The check of the arms' shares: right, few false alarms however often one looks, quick where one is due."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream_app.discounts.core.records import Arm
from stream_app.discounts.core.sample_ratio import ALARM, CONCENTRATION, SampleRatio


def counted(arms: list[Arm], *, holdout: float = 0.2, concentration: float = CONCENTRATION) -> SampleRatio:
    ratio = SampleRatio({"treatment": 1 - holdout, "holdout": holdout}, concentration=concentration)
    for arm in arms:
        ratio.add(arm)
    return ratio


def arms_of(treated: int, held_out: int) -> list[Arm]:
    return ["treatment"] * treated + ["holdout"] * held_out


def paths(
    share: float, *, planned: float, units: int, runs: int, seed: int
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The log of the Bayes factor after each unit, by run: what `SampleRatio.add` sums, for many at once."""
    held_out = np.random.default_rng(seed).random((runs, units)) < share
    before = np.cumsum(held_out, axis=1) - held_out
    n = np.arange(units)
    chance = np.where(
        held_out,
        (CONCENTRATION * planned + before) / (CONCENTRATION + n) / planned,
        (CONCENTRATION * (1 - planned) + n - before) / (CONCENTRATION + n) / (1 - planned),
    )
    found: np.ndarray[tuple[int, int], np.dtype[np.float64]] = np.cumsum(np.log(chance), axis=1)
    return found


def test_the_bayes_factor_is_the_one_of_the_paper() -> None:
    # The Dirichlet-multinomial's marginal likelihood over the multinomial's, for counts 60 and 25 in any order.
    ratio = counted(arms_of(60, 25), concentration=10.0)
    a = (8.0, 2.0)
    log_marginal = (
        math.lgamma(10.0) - math.lgamma(95.0)
        + math.lgamma(a[0] + 60) - math.lgamma(a[0]) + math.lgamma(a[1] + 25) - math.lgamma(a[1])
    )  # fmt: skip
    assert ratio.log_odds == pytest.approx(log_marginal - 60 * math.log(0.8) - 25 * math.log(0.2))


def test_the_order_of_units_does_not_matter_to_the_odds_and_the_p_value_never_rises() -> None:
    arms = arms_of(500, 200)
    odds = []
    for seed in range(3):
        ratio, last = counted([]), 1.0
        for arm in np.random.default_rng(seed).permutation(np.array(arms)).tolist():
            ratio.add(arm)
            assert ratio.p_value <= last
            last = ratio.p_value
        odds.append(ratio.log_odds)
    assert odds == pytest.approx([odds[0]] * 3)


def test_many_at_once_are_what_one_is() -> None:
    held_out = np.random.default_rng(5).random((1, 3_000)) < 0.25
    ratio = counted(["holdout" if out else "treatment" for out in held_out[0]])
    found = paths(0.25, planned=0.2, units=3_000, runs=1, seed=5)[0]
    assert ratio.log_odds == pytest.approx(found[-1])
    assert ratio.p_value == pytest.approx(min(1.0, math.exp(-found.max())))


@pytest.mark.parametrize("planned", [0.1, 0.5])
def test_false_alarms_stay_below_the_level_though_one_looks_after_every_unit(
    planned: float, capsys: pytest.CaptureFixture[str]
) -> None:
    found = np.exp(-paths(planned, planned=planned, units=20_000, runs=400, seed=7).max(axis=1))
    with capsys.disabled():
        print(
            f"\n{planned:.0%} planned: p < .05 in {(found < 0.05).mean():.2%}, alarms in {(found < ALARM).mean():.2%}",
            end="",
        )
    assert (found < 0.05).mean() <= 0.05
    assert (found < ALARM).mean() <= 0.005


@pytest.mark.parametrize(
    ("planned", "lost", "within"),
    # Of the holdout's exposures a share is lost on the way.
    [(0.5, 0.02, 400_000), (0.5, 0.1, 15_000), (0.1, 0.1, 40_000), (0.1, 0.5, 2_500)],
)
def test_a_real_mismatch_is_told_in_time(
    planned: float, lost: float, within: int, capsys: pytest.CaptureFixture[str]
) -> None:
    share = planned * (1 - lost) / (1 - planned * lost)
    found = paths(share, planned=planned, units=within, runs=40, seed=9) > -math.log(ALARM)
    told = found.any(axis=1)
    with capsys.disabled():
        median = np.median(found.argmax(axis=1)[told])
        print(f"\n{planned:.0%} planned, {lost:.0%} lost: told in {told.mean():.0%}, median {median:.0f}", end="")
    assert told.mean() >= 0.9


def test_an_alarm_once_given_stays_and_it_continues_from_an_export() -> None:
    ratio = counted(arms_of(0, 400))
    assert ratio.mismatch
    again = counted([])
    again.restore(ratio.export())
    for arm in arms_of(8_000, 0):
        again.add(arm)
    assert again.mismatch
    assert again.counts == {"treatment": 8_000, "holdout": 400}
    for damaged in ({}, {**ratio.export(), "counts": {"treatment": 1}}, {**ratio.export(), "p_value": 2.0}):
        with pytest.raises((ValueError, KeyError, TypeError)):
            again.restore(damaged)
    assert again.counts["treatment"] == 8_000


def test_before_anybody_came_nothing_is_suspected() -> None:
    assert (counted([]).p_value, counted([]).mismatch) == (1.0, False)


def test_shares_that_are_none_are_refused() -> None:
    for shares in ({"treatment": 1.0}, {"treatment": 1.0, "holdout": 0.0}, {"treatment": 0.5, "holdout": 0.4}):
        with pytest.raises(ValueError, match="shares"):
            SampleRatio(shares)  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        counted([]).add("other")  # type: ignore[arg-type]
