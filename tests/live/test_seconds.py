"""Rates from counts by the second."""

from __future__ import annotations

from stream_app.live.seconds import SECONDS, SecondCounts


def test_only_whole_seconds_count_and_a_quiet_one_counts_as_nothing() -> None:
    counts = SecondCounts()
    assert (counts.history(5.0), counts.per_second(5.0)) == ([], 0.0)
    counts.add(3, 100.1)
    counts.add(1, 100.9)
    assert counts.history(100.95) == []
    counts.add(6, 102.5)
    assert counts.history(103.0) == [4, 0, 6]
    assert counts.per_second(103.0) == 10 / 3


def test_a_rate_is_of_the_last_ten_seconds() -> None:
    counts = SecondCounts()
    for second in range(40):
        counts.add(second, second + 0.5)
    assert counts.per_second(40.0) == sum(range(30, 40)) / 10
    assert counts.per_second(45.0) == sum(range(35, 40)) / 10


def test_it_remembers_five_minutes_and_a_long_pause_empties_it() -> None:
    counts = SecondCounts()
    for second in range(2 * SECONDS):
        counts.add(1, float(second))
    assert counts.history(float(2 * SECONDS)) == [1] * (SECONDS - 1)
    assert counts.history(10.0 * SECONDS) == [0] * (SECONDS - 1)
