"""Probabilities of levels: those of Thompson's rule, told exactly, and drawn from as told."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.discounts.core.propensity import best_probabilities, explored, logged, taken
from tests.discounts.core.exposures import exposure


def normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


@pytest.mark.parametrize(
    ("means", "deviations"),
    [((0.0, 0.3), (1.0, 1.0)), ((1.0, 0.9), (0.5, 0.001)), ((0.0, 5.0), (0.1, 0.2)), ((2.0, 1.0), (1e-4, 40.0))],
)
def test_of_two_levels_the_probabilities_are_those_of_the_closed_form(
    means: tuple[float, float], deviations: tuple[float, float]
) -> None:
    expected = normal_cdf((means[0] - means[1]) / math.hypot(*deviations))
    assert best_probabilities(means, deviations) == pytest.approx([expected, 1 - expected], abs=1e-3)


def test_equal_posteriors_are_equally_probable_and_one_alone_is_certain() -> None:
    assert best_probabilities([1.5] * 4, [0.2] * 4) == pytest.approx([0.25] * 4)
    assert best_probabilities([1.5], [0.2]) == [1.0]


@pytest.mark.parametrize("seed", range(4))
def test_of_many_levels_they_are_how_often_each_is_the_largest_draw(seed: int) -> None:
    generator = np.random.default_rng(seed)
    means, deviations = generator.normal(0, 1, 5), np.exp(generator.normal(-0.5, 1.0, 5))
    draws = generator.normal(means, deviations, (400_000, 5)).argmax(axis=1)
    # Three standard errors of a share of a half, and the quadrature's own error.
    assert best_probabilities(means.tolist(), deviations.tolist()) == pytest.approx(
        np.bincount(draws, minlength=5) / len(draws), abs=0.0024 + 1e-3
    )


def test_probabilities_do_not_depend_on_the_unit_of_money() -> None:
    found = best_probabilities([1.0, 1.2, 0.7], [0.3, 0.1, 0.5])
    assert best_probabilities([1e4, 1.2e4, 0.7e4], [3e3, 1e3, 5e3]) == pytest.approx(found)


def test_posteriors_that_are_none_are_refused() -> None:
    for means, deviations in (([0.0, 1.0], [1.0, 0.0]), ([math.nan, 0.0], [1.0, 1.0]), ([0.0], [math.inf])):
        with pytest.raises(ValueError, match="posteriors"):
            best_probabilities(means, deviations)


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=8), st.floats(0.0, 1.0))
def test_exploration_leaves_every_level_at_least_its_even_part(weights: list[float], share: float) -> None:
    best = [weight / sum(weights) for weight in weights]
    found = explored(best, share)
    assert sum(found) == pytest.approx(1.0)
    assert min(found) >= share / len(best)


def test_levels_are_drawn_as_often_as_told() -> None:
    levels = [(0.0, 0.2), (5.0, 0.0), (10.0, 0.5), (15.0, 0.3)]
    drawn = Counter(taken(levels, (n + 0.5) / 10_000) for n in range(10_000))
    assert drawn == {(0.0, 0.2): 2_000, (10.0, 0.5): 5_000, (15.0, 0.3): 3_000}


def test_a_level_without_a_chance_is_never_drawn_whatever_rounding_leaves() -> None:
    # The probabilities add up to a little less than 1, and the draw lies in the rest.
    levels = [(0.0, 0.1)] * 9 + [(10.0, 0.0999999999), (20.0, 0.0)]
    assert taken(levels, 1.0 - 2**-53) == (10.0, 0.0999999999)
    with pytest.raises(ValueError, match="levels"):
        taken([(0.0, 0.0)], 0.5)


def test_a_log_tells_the_probability_of_either_arm_together() -> None:
    levels = [(0.0, 0.25), (10.0, 0.75)]
    treated = exposure(levels=levels, holdout_share=0.2)
    assert logged(treated) == pytest.approx({0.0: 0.2 + 0.8 * 0.25, 10.0: 0.8 * 0.75})
    assert logged(exposure(arm="holdout", levels=levels)) == logged(treated)
    assert logged(exposure(arm="holdout", levels=[(10.0, 1.0)])) == pytest.approx({0.0: 0.2, 10.0: 0.8})


def test_a_log_whose_level_had_no_chance_is_wrong() -> None:
    for wrong in (exposure(percent=15.0, levels=[(10.0, 1.0)]), exposure(levels=[(10.0, 0.0), (5.0, 1.0)])):
        with pytest.raises(ValueError, match="no chance"):
            logged(wrong)


def test_drawing_by_probabilities_is_thompsons_rule_itself() -> None:
    """The two ways of deciding, side by side on the same posteriors: draw and compare, or compute and draw."""
    generator = random.Random(3)
    means, deviations = [1.0, 1.4, 1.1], [0.3, 0.2, 0.6]
    compared = Counter(max(range(3), key=lambda n: generator.gauss(means[n], deviations[n])) for _ in range(60_000))
    levels = list(zip([0.0, 1.0, 2.0], best_probabilities(means, deviations), strict=True))
    computed = Counter(int(taken(levels, generator.random())[0]) for _ in range(60_000))
    for level in range(3):
        assert compared[level] / 60_000 == pytest.approx(computed[level] / 60_000, abs=0.012)
