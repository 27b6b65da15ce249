"""Two ways of scoring compared over a fading window: the sums are those of all examples, by their fading weights."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream_app.core.paired import Paired

Episode = tuple[float, float, int]


def episodes(count: int, *, seed: int = 1, mean: float = 0.05) -> list[Episode]:
    """The weighted sum of an episode's differences, of its weights, and its examples."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 9, count)
    return [(float(random.normal(mean * n, 0.3)), float(n * random.uniform(1, 3)), int(n)) for n in sizes.tolist()]


def compared(found: list[Episode], *, window: int) -> Paired:
    paired = Paired(window)
    for episode in found:
        paired.add(*episode)
    return paired


@pytest.mark.parametrize("window", [2, 50, 10_000])
def test_the_fading_sums_are_those_of_all_episodes_by_their_age_in_examples(window: int) -> None:
    found = episodes(400)
    paired = compared(found, window=window)
    # Of the n-th episode so many examples have come since.
    since = np.cumsum([n for _, _, n in found][::-1])[::-1] - [n for _, _, n in found]
    fade = (1 - 1 / window) ** since
    sums, weights, counts = (np.array(column) for column in zip(*found, strict=True))
    assert paired.difference == pytest.approx((fade @ sums) / (fade @ weights))
    assert paired.examples == pytest.approx(fade @ counts)
    assert paired.episodes == pytest.approx(fade.sum())
    assert paired.z == pytest.approx((fade @ sums) / math.sqrt(fade**2 @ sums**2))


def test_where_nothing_differs_z_has_a_standard_deviation_of_one() -> None:
    found = [compared(episodes(400, seed=seed, mean=0.0), window=200).z for seed in range(300)]
    assert np.std(found) == pytest.approx(1.0, abs=0.12)


def test_an_example_counts_one_over_e_as_much_after_a_window_of_others() -> None:
    paired = Paired(10_000)
    paired.add(1.0, 1.0, 1)
    for _ in range(10_000):
        paired.add(0.0, 1.0, 1)
    assert paired._sum == pytest.approx(1 / math.e, rel=1e-3)


def test_an_episodes_rows_do_not_count_as_if_they_were_independent() -> None:
    # The same differences: once by episode of eight equal rows, once as if each row were one.
    random = np.random.default_rng(4)
    together, apart = Paired(10**6), Paired(10**6)
    for difference in random.normal(0.1, 1.0, 2_000).tolist():
        together.add(8 * difference, 8.0, 8)
        for _ in range(8):
            apart.add(difference, 1.0, 1)
    assert together.difference == pytest.approx(apart.difference, rel=0.02)
    assert apart.z == pytest.approx(math.sqrt(8) * together.z, rel=0.02)


def test_chance_alone_stays_within_a_few_standard_errors_and_a_true_difference_does_not() -> None:
    by_chance = [compared(episodes(5_000, seed=seed, mean=0.0), window=10_000).z for seed in range(40)]
    assert max(map(abs, by_chance)) < 3.0
    assert min(compared(episodes(5_000, seed=seed, mean=0.02), window=10_000).z for seed in range(40)) > 3.0


def test_nothing_compared_and_nothing_different_say_nothing() -> None:
    paired = Paired(100)
    assert (paired.difference, paired.z, paired.examples, paired.episodes) == (0.0, 0.0, 0.0, 0.0)
    for _ in range(50):
        paired.add(0.0, 1.0, 1)
    assert (paired.difference, paired.z) == (0.0, 0.0)
    assert paired.examples > 30


def test_it_continues_bit_for_bit_from_what_it_exported() -> None:
    found = episodes(100)
    whole, half = compared(found, window=30), compared(found[:50], window=30)
    again = Paired(30)
    again.restore(half.export())
    for episode in found[50:]:
        again.add(*episode)
    assert again.export() == whole.export()
    with pytest.raises(ValueError, match="unpack"):
        again.restore([1.0, 2.0])
    assert again.export() == whole.export()
