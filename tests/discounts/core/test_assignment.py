"""Arms: the right share, independent of everything else, and the same for ever."""

from __future__ import annotations

import math
from collections import Counter
from zlib import crc32

import numpy as np
import pytest

from stream_app.core.placement import murmur2
from stream_app.discounts.core.assignment import Assignment

VISITORS = [f"visitor-{n}" for n in range(40_000)]


def held_out(assignment: Assignment) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.array([assignment.arm(visitor) == "holdout" for visitor in VISITORS])


def spread(share: float, count: int) -> float:
    """Four standard errors of a share of so many."""
    return 4 * math.sqrt(share * (1 - share) / count)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.37, 0.5])
def test_as_many_are_held_out_as_asked(share: float) -> None:
    found = held_out(Assignment("autumn", "salt", share))
    assert found.mean() == pytest.approx(share, abs=spread(share, len(VISITORS)))


def test_a_share_of_zero_holds_out_nobody_and_one_everybody() -> None:
    assert not held_out(Assignment("autumn", "salt", 0.0)).any()
    assert held_out(Assignment("autumn", "salt", 1.0)).all()


@pytest.mark.parametrize("other", [("autumn", "pepper"), ("winter", "salt"), ("autumns", "alt")])
def test_another_salt_or_experiment_draws_independently(other: tuple[str, str]) -> None:
    one, two = held_out(Assignment("autumn", "salt", 0.3)), held_out(Assignment(*other, 0.3))
    assert (one & two).mean() == pytest.approx(0.09, abs=spread(0.09, len(VISITORS)))


def test_both_arms_have_their_share_of_every_kafka_partition() -> None:
    found = held_out(Assignment("autumn", "salt", 0.2))
    for partitions in (2, 6, 64):
        for hashed in (murmur2, crc32):
            places = np.array([(hashed(visitor.encode()) & 0x7FFFFFFF) % partitions for visitor in VISITORS])
            expected = 0.2 * np.bincount(places, minlength=partitions)
            squares = (
                (np.bincount(places, weights=found, minlength=partitions) - expected) ** 2 / expected / 0.8
            ).sum()
            # Chi-squared with as many degrees of freedom: mean p, variance 2p.
            assert abs(squares - partitions) < 4 * math.sqrt(2 * partitions)


def test_ids_that_differ_by_one_letter_are_drawn_independently() -> None:
    found = held_out(Assignment("autumn", "salt", 0.5))
    runs = int((found[1:] != found[:-1]).sum())
    assert runs == pytest.approx(len(VISITORS) / 2, abs=4 * math.sqrt(len(VISITORS)) / 2)


def test_a_higher_share_only_moves_visitors_into_the_holdout() -> None:
    low, high = held_out(Assignment("autumn", "salt", 0.1)), held_out(Assignment("autumn", "salt", 0.25))
    assert not (low & ~high).any()
    assert high.sum() > low.sum()


def test_arms_and_draws_are_what_they_were_in_the_first_version() -> None:
    # Golden: an upgrade must not move anybody to the other arm, nor decide another level after a crash.
    assignment = Assignment("autumn", "salt", 0.5)
    assert [assignment.arm(f"v{n}")[0] for n in range(12)] == list("thhththhthth")
    assert assignment.arm("besucherin-ä✓") == "treatment"
    assert assignment.level_draw("26e7d9204ffdf663ef99ff5ba8b43321") == 0.5480977675099643


def test_draws_for_levels_are_uniform_and_know_nothing_of_the_arm() -> None:
    assignment = Assignment("autumn", "salt", 0.5)
    draws = np.array([assignment.level_draw(visitor) for visitor in VISITORS])
    assert draws.min() >= 0.0
    assert draws.max() < 1.0
    tenths = np.bincount((draws * 10).astype(int), minlength=10)
    assert tenths == pytest.approx(len(VISITORS) / 10, abs=4 * math.sqrt(len(VISITORS) * 0.09))
    assert np.corrcoef(draws, held_out(assignment))[0, 1] == pytest.approx(0.0, abs=4 / math.sqrt(len(VISITORS)))


def test_a_share_that_is_none_is_refused() -> None:
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="holdout_share"):
            Assignment("autumn", "salt", share)


def test_no_salt_is_too_long_or_empty() -> None:
    arms = Counter(Assignment("autumn", "x" * length, 0.5).arm("v") for length in (0, 1, 64, 65, 1_000, 10_000))
    assert sum(arms.values()) == 6
