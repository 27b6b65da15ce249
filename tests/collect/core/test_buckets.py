"""Token buckets, by hand: 2 tokens a second in bursts of 20."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.collect.core.buckets import BURST_S, Buckets


def _taken(buckets: Buckets, name: str, now_s: float, attempts: int) -> int:
    taken = 0
    for _ in range(attempts):
        if buckets.wait_s(name, now_s) == 0.0:
            buckets.take(name, 1, now_s)
            taken += 1
    return taken


def test_a_burst_passes_and_then_as_many_as_the_rate() -> None:
    buckets = Buckets(2.0)
    assert _taken(buckets, "a", 100.0, 50) == 20
    assert buckets.wait_s("a", 100.0) == pytest.approx(0.5)
    assert _taken(buckets, "a", 101.0, 50) == 2
    assert _taken(buckets, "b", 101.0, 50) == 20  # a bucket of its own
    assert _taken(buckets, "a", 1000.0, 50) == 20  # never more than full


def test_who_waits_as_long_as_told_finds_a_token() -> None:
    buckets = Buckets(2.0)
    buckets.take("a", 20, 0.0)
    wait_s = buckets.wait_s("a", 0.0)
    assert buckets.wait_s("a", wait_s - 0.01) > 0.0
    assert buckets.wait_s("a", wait_s) == 0.0


def test_a_large_batch_runs_into_debt_and_the_next_one_waits_for_it() -> None:
    buckets = Buckets(2.0)
    buckets.take("a", 100, 0.0)
    assert buckets.wait_s("a", 0.0) == pytest.approx((100 - 20 + 1) / 2)


def test_no_rate_limits_nothing_and_remembers_nobody() -> None:
    buckets = Buckets(0.0)
    buckets.take("a", 10**6, 0.0)
    assert buckets.wait_s("a", 0.0) == 0.0
    assert len(buckets) == 0


def test_names_are_bounded_and_who_sends_goes_on_being_known() -> None:
    buckets = Buckets(2.0, names_max=3)
    buckets.take("busy", 40, 0.0)
    for n in range(10):
        buckets.take(f"other {n}", 1, 0.0)
        buckets.take("busy", 1, 0.0)
    assert len(buckets) == 3
    assert buckets.wait_s("busy", 0.0) > 10.0


def test_a_bucket_slower_than_its_burst_has_a_token_all_the_same() -> None:
    assert Buckets(0.01).wait_s("a", 0.0) == 0.0


@given(
    rate=st.floats(0.1, 1_000.0),
    asks=st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(1, 20)), min_size=1, max_size=60),
)
def test_in_no_span_of_time_more_pass_than_a_burst_the_rate_and_one_batch(
    rate: float, asks: list[tuple[float, int]]
) -> None:
    buckets, now_s, passed = Buckets(rate), 0.0, 0
    for pause_s, tokens in asks:
        now_s += pause_s
        if buckets.wait_s("a", now_s) == 0.0:
            buckets.take("a", tokens, now_s)
            passed += tokens
    assert passed <= max(1.0, rate * BURST_S) + rate * now_s + 20 + 1e-6
