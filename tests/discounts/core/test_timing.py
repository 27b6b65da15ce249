"""The purchase probability against time: learned from closed sessions, faded, borrowed, and its window."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np
import pytest

from producers.synthetic.shop import Shop
from stream_app.core.events import Event
from stream_app.discounts.core.timing import (
    BINS,
    CATEGORIES_MAX,
    CLOCKS,
    EDGES_S,
    HALF_LIFE_MS,
    TRUSTED_FROM,
    Timing,
    Window,
)

NOW_MS = 1_735_689_600_000


def learned(*sessions: tuple[float, bool, int], category: str = "a", now_ms: int = NOW_MS) -> Timing:
    """From (seconds active, bought, how many of them)."""
    timing = Timing()
    for active_s, bought, times in sessions:
        for _ in range(times):
            timing.session(category, active_s=active_s, bought=bought, now_ms=now_ms)
    return timing


def test_the_curve_is_what_the_sessions_still_there_went_on_to_do() -> None:
    # After 10 s 300 are there, after 60 s 200, after 600 s 100; 150 buy, half of them between 60 s and 600 s.
    timing = learned((5.0, False, 700), (30.0, True, 50), (30.0, False, 50), (300.0, True, 75), (300.0, False, 25),
                     (3000.0, True, 25), (3000.0, False, 75))  # fmt: skip
    curve = timing.curve("age", "a")
    for time_s, there, buyers in ((0.0, 1000, 150), (10.0, 300, 150), (100.0, 200, 100), (1000.0, 100, 25)):
        assert curve.at(time_s) == pytest.approx(buyers / there, abs=1e-9)
        assert np.interp(time_s, EDGES_S, curve.to_come()) == pytest.approx(buyers / 150, abs=1e-9)
    assert curve.buys[-1] == 0.0
    assert curve.reached[0] == 1.0


def test_a_pause_that_never_ends_stays_until_all_that_return_have_done_so() -> None:
    timing = Timing()
    for _ in range(100):
        timing.session("a", active_s=100.0, bought=True, pauses_s=[20.0, 80.0], now_ms=NOW_MS)
        timing.session("a", active_s=10.0, bought=False, pauses_s=[10.0], now_ms=NOW_MS)
        timing.session("a", active_s=0.0, bought=False, pauses_s=[], now_ms=NOW_MS)
    curve = timing.curve("quiet", "a")
    # 500 pauses: 200 of them before a purchase; after 15 s 400 still go on, after 50 s 300 with the last 100 of buyers.
    assert curve.at(0.0) == pytest.approx(200 / 500)
    assert curve.at(15.0) == pytest.approx(200 / 400)
    assert curve.at(50.0) == pytest.approx(100 / 300)
    assert curve.at(200.0) == 0.0


def test_the_window_holds_the_purchases_from_one_half_to_nineteen_twentieths() -> None:
    rng = np.random.default_rng(1)
    timing = Timing()
    times = np.exp(rng.normal(np.log(120.0), 1.0, 4_000))
    for time_s in times:
        timing.session("a", active_s=float(time_s), bought=True, now_ms=NOW_MS)
        timing.session("a", active_s=float(time_s) * 0.2, bought=False, now_ms=NOW_MS)
    window = timing.window("age", "a")
    assert window is not None
    half, late = np.quantile(times, [0.5, 0.95])
    assert window.earliest_s == pytest.approx(half, rel=0.05)
    assert window.latest_s == pytest.approx(late, rel=0.10)


def test_until_a_hundred_purchases_were_seen_nothing_is_claimed() -> None:
    assert Timing().window("age") is None
    few = learned((50.0, True, int(TRUSTED_FROM) - 1), (50.0, False, 5_000))
    assert few.window("age", "a") is None
    few.session("b", active_s=50.0, bought=True, now_ms=NOW_MS)
    assert few.window("age", "a") is not None
    assert few.window("quiet", "a") is None


def test_a_category_that_nobody_knows_has_the_common_curve_and_a_known_one_its_own() -> None:
    timing = learned((20.0, True, 400), (20.0, False, 4_000), category="quick")
    for _ in range(400):
        timing.session("slow", active_s=900.0, bought=True, now_ms=NOW_MS)
        timing.session("slow", active_s=900.0, bought=False, now_ms=NOW_MS)
    timing.session("new", active_s=20.0, bought=False, now_ms=NOW_MS)
    common = timing.window("age")
    assert timing.window("age", "never seen") == timing.window("age", None) == common
    quick, slow, new = (timing.window("age", name) for name in ("quick", "slow", "new"))
    assert common is not None
    assert quick is not None
    assert slow is not None
    assert new is not None
    assert quick.earliest_s < 30 < 400 < slow.earliest_s
    assert new.earliest_s == pytest.approx(common.earliest_s, rel=0.25)


def test_the_window_is_in_order_and_the_curve_a_probability_whatever_was_seen() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        timing = Timing()
        for _ in range(int(rng.integers(100, 400))):
            timing.session(
                rng.choice(["a", "b", "c"]),
                active_s=float(np.exp(rng.normal(4, 3))) - 1.0,
                bought=bool(rng.random() < 0.6),
                pauses_s=np.exp(rng.normal(3, 2, int(rng.integers(0, 4)))).tolist(),
                now_ms=NOW_MS,
            )
        for clock in CLOCKS:
            for category in ("a", "d", None):
                curve = timing.curve(clock, category)
                assert ((curve.buys >= 0) & (curve.buys <= 1)).all()
                assert (np.diff(curve.reached) <= 0).all()
                assert (np.diff(curve.to_come()) <= 1e-12).all()
                window = timing.window(clock, category)
                assert window is None or 0.0 <= window.earliest_s <= window.latest_s <= EDGES_S[-1]


def test_what_was_seen_fades_by_half_in_a_half_life() -> None:
    timing = learned((20.0, True, 200))
    timing.session("a", active_s=900.0, bought=False, now_ms=NOW_MS + HALF_LIFE_MS)
    assert timing.purchases("age") == pytest.approx(100.0)
    # An older time counts as faded as it is, and makes nothing else younger.
    timing.session("a", active_s=900.0, bought=False, now_ms=NOW_MS)
    assert timing.purchases("age") == pytest.approx(100.0)
    assert timing.curve("age", None).at(0.0) == pytest.approx(100 / 101.5)


def test_the_order_in_which_partitions_are_read_makes_no_difference_and_what_was_counted_can_be_taken_back() -> None:
    rng = np.random.default_rng(4)
    pauses = [
        (str(rng.choice(["a", "b"])), float(rng.exponential(60.0)), bool(rng.random() < 0.4), NOW_MS + n * 3_600_000)
        for n in range(600)
    ]
    forwards, backwards, corrected = Timing(), Timing(), Timing()
    for timing, told in ((forwards, pauses), (backwards, pauses[::-1]), (corrected, pauses)):
        for category, pause_s, bought, time_ms in told:
            timing.pause(category, pause_s, bought=bought, now_ms=time_ms, weight=2.0)
    for category, pause_s, bought, time_ms in pauses[:300]:
        for timing, weight, word in ((corrected, -2.0, bought), (corrected, 2.0, not bought)):
            timing.pause(category, pause_s, bought=word, now_ms=time_ms, weight=weight)
    as_if = Timing()
    for n, (category, pause_s, bought, time_ms) in enumerate(pauses):
        as_if.pause(category, pause_s, bought=bought is (n >= 300), now_ms=time_ms, weight=2.0)
    for category in ("a", "b", None):
        for one, other in ((forwards, backwards), (corrected, as_if)):
            np.testing.assert_allclose(one.curve("quiet", category).buys, other.curve("quiet", category).buys)
    assert forwards.windows("quiet")[None] != corrected.windows("quiet")[None]


def test_what_is_taken_back_and_was_never_read_leaves_nothing_below_zero() -> None:
    timing = learned((20.0, True, 200))
    for _ in range(3):
        timing.pause("a", 5.0, bought=True, now_ms=NOW_MS, weight=-4.0)
    assert timing.purchases("quiet") == 0.0
    assert timing.export()["own"]["a"]["quiet"].min() == 0.0


def test_windows_are_those_of_each_category_and_the_common_one() -> None:
    assert learned((20.0, True, 5)).windows("age") == {}
    timing = learned((20.0, True, 300), (20.0, False, 900))
    for _ in range(300):
        timing.session("b", active_s=500.0, bought=True, now_ms=NOW_MS)
    assert timing.windows("age") == {name: timing.window("age", name) for name in ("a", "b", None)}
    assert timing.windows("quiet") == {}


def test_a_year_and_a_broken_clock_later_it_still_learns() -> None:
    timing = learned((20.0, True, 200))
    for week in range(1, 120):
        timing.session("a", active_s=900.0, bought=True, now_ms=NOW_MS + week * HALF_LIFE_MS)
    assert timing.purchases("age") == pytest.approx(2.0, abs=1e-6)
    assert timing.curve("age", "a").at(300.0) == pytest.approx(1.0)
    timing.session("a", active_s=100.0, bought=True, now_ms=NOW_MS + 10_000 * HALF_LIFE_MS)
    assert timing.purchases("age") == pytest.approx(1.0)


def test_categories_are_bounded_and_the_least_seen_makes_room() -> None:
    timing = learned((20.0, True, 5), category="often")
    for number in range(CATEGORIES_MAX + 50):
        timing.session(f"c{number}", active_s=20.0, bought=False, now_ms=NOW_MS)
    assert len(timing) == CATEGORIES_MAX
    assert "often" in timing.export()["own"]
    assert f"c{CATEGORIES_MAX + 49}" in timing.export()["own"]


def test_an_export_is_a_copy_and_restores_to_the_same() -> None:
    timing = learned((20.0, True, 300), (200.0, False, 900))
    exported = timing.export()
    again = Timing()
    again.restore(exported)
    for each in (timing, again):
        each.session("b", active_s=77.0, bought=True, pauses_s=[7.0], now_ms=NOW_MS + 5 * HALF_LIFE_MS)
    for clock in CLOCKS:
        assert again.window(clock, "a") == timing.window(clock, "a")
        for name in ("a", "b", None):
            np.testing.assert_array_equal(again.curve(clock, name).buys, timing.curve(clock, name).buys)
    assert exported["all"]["quiet"].sum() == 0.0


@pytest.mark.parametrize("damage", ["shape", "nan", "negative", "missing"])
def test_a_damaged_export_is_refused_and_changes_nothing(damage: str) -> None:
    timing = learned((20.0, True, 300))
    before, values = timing.window("age", "a"), timing.export()
    table = values["own"]["a"]["age"]
    if damage == "shape":
        values["own"]["a"]["age"] = table[: BINS - 1]
    elif damage == "missing":
        del values["own"]["a"]["quiet"]
    else:
        table[0, 0] = np.nan if damage == "nan" else -1.0
    with pytest.raises((ValueError, KeyError)):
        timing.restore(values)
    assert timing.window("age", "a") == before
    assert isinstance(before, Window)


class Times(NamedTuple):
    """A visit of the synthetic shop up to its purchase: when it ended, how long it took, and its pauses, in s."""

    ended_ms: int
    active_s: float
    bought: bool
    pauses_s: list[float]
    category: str | None


def visits_of_the_shop(events: int) -> list[Times]:
    times: dict[str, list[int]] = defaultdict(list)
    bought: set[str] = set()
    category: dict[str, str] = {}
    for fact in islice(Shop(seed=3, start_ms=NOW_MS), events):
        assert isinstance(fact, Event)
        assert isinstance(fact.event_time, int)
        name = str(fact.session_id)
        if name in bought:
            continue
        times[name].append(fact.event_time)
        if fact.category is not None:
            category[name] = fact.category
        if fact.event_type == "purchase":
            bought.add(name)
    last = max(each[-1] for each in times.values()) - 1_800_000
    return [
        Times(
            each[-1],
            (each[-1] - each[0]) / 1000.0,
            name in bought,
            [(after - before) / 1000.0 for before, after in pairwise(each)],
            category.get(name),
        )
        for name, each in times.items()
        if each[-1] < last
    ]


def test_what_is_learned_of_the_synthetic_shops_day_holds_the_next_day() -> None:
    visits = sorted(visits_of_the_shop(200_000))
    half = len(visits) // 2
    timing = Timing()
    for visit in visits[:half]:
        timing.session(
            visit.category, active_s=visit.active_s, bought=visit.bought, pauses_s=visit.pauses_s, now_ms=visit.ended_ms
        )
    for clock in CLOCKS:
        rows = [
            (time_s, visit.bought)
            for visit in visits[half:]
            for time_s in (
                [visit.active_s] if clock == "age" else [*visit.pauses_s, *(() if visit.bought else (np.inf,))]
            )
        ]
        spans, bought = (np.array(column) for column in zip(*rows, strict=True))
        curve = timing.curve(clock)
        for time_s in (0.0, 10.0, 30.0, 60.0, 120.0, 300.0):
            there = bought[spans >= time_s]
            error = np.sqrt(there.mean() * (1 - there.mean()) / len(there))
            # Pauses of one visit share its outcome, and both halves have luck: some three errors of the one half.
            assert curve.at(time_s) == pytest.approx(there.mean(), abs=8 * error), (clock, time_s)
        window = timing.window(clock)
        assert window is not None
        half_s, late_s = np.quantile(spans[bought], [0.5, 0.95])
        print(f"{clock}: learned {window}, next day {half_s:.1f} and {late_s:.1f} s")
        assert window.earliest_s == pytest.approx(half_s, rel=0.10)
        assert window.latest_s == pytest.approx(late_s, rel=0.15)
        own = [timing.window(clock, name) for name in timing.export()["own"]]
        assert len(own) == 32
        assert all(0.4 * window.earliest_s < each.earliest_s < 2.5 * window.earliest_s for each in own if each)
