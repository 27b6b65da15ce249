"""Actions by source, and visitors' return, lifetime and value: by hand, and as pandas and resampling have them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from producers.formats import FORMATS
from stream_app.analytics.block import Block
from stream_app.analytics.sessions import ACTIONS
from stream_app.analytics.sources import Sources
from stream_app.analytics.visitors import WEEKS, Visitors
from stream_app.block_files.reading import BlockSource
from stream_app.core.events import Event
from tests.analytics.small import block, event, histories, unhurried
from tests.analytics.test_sessions import sessions_of
from tests.producers.test_real_files import NOW_MS, files, found

DAY = 24 * 60
WEEK = 7 * DAY


def in_order(events: list[Event]) -> Block:
    return block(sorted(events, key=lambda e: e.event_time))  # type: ignore[arg-type, return-value]


def test_actions_by_source_and_category_by_hand() -> None:
    events = [
        event("a", "x", "view", 0, source="mail", category="hats"),
        event("a", "x", "view", 1, category="hats"),
        event("a", "x", "like", 2, category="hats"),
        event("a", "x", "share", 3, category="hats"),
        event("b", "x", "view", 0, source="ads", category="hats"),
        event("b", "x", "cart", 1, category="hats"),
        event("b", "x", "buy", 2, category="hats"),
        event("c", "y", "view", 0, source="ads", category="shoes"),
    ]
    sources = Sources()
    sources.add(sessions_of([in_order(events)]))
    hats = {told.source: told for told in sources.actions("hats")}
    assert dict(zip(ACTIONS, hats["mail"].events.tolist(), strict=True)) == {
        "view": 2, "like": 1, "share": 1, "cart": 0, "purchase": 0,
    }  # fmt: skip
    assert hats["mail"].shares.tolist() == [0.5, 0.25, 0.25, 0.0, 0.0]
    assert hats["mail"].did.tolist() == [1, 1, 1, 0, 0]
    whole = {told.source: told for told in sources.actions()}
    assert (whole["ads"].sessions, whole["ads"].events.tolist()) == (2, [2, 0, 0, 1, 1])
    assert whole["ads"].reached.tolist() == [1.0, 0.0, 0.0, 0.5, 0.5]
    assert sources.categories() == ["hats", "shoes"]
    assert sources.differences() == []


def visits(source: str, count: int, carted: int) -> list[Event]:
    events = []
    for n in range(count):
        events.append(event(f"{source}{n}", "x", "view", n, source=source))
        if n < carted:
            events.append(event(f"{source}{n}", "x", "cart", n + 0.5))
    return events


def test_a_planted_difference_is_found_and_what_is_the_same_is_not() -> None:
    sources = Sources()
    sources.add(sessions_of([in_order([*visits("mail", 100, 40), *visits("ads", 100, 10), *visits("rare", 5, 5)])]))
    (told,) = sources.differences()
    # 40, 60 against 10, 90: χ² = 200 · (40·90 − 60·10)² / (100 · 100 · 50 · 150); rare is left out.
    assert (told.action, told.association.chi_squared) == ("cart", pytest.approx(24.0))
    assert told.association.degrees == 1
    same = Sources()
    same.add(sessions_of([in_order([*visits("mail", 100, 20), *visits("ads", 100, 20)])]))
    assert same.differences()[0].adjusted == 1.0


def test_probabilities_are_corrected_for_the_number_of_actions() -> None:
    random = np.random.default_rng(1)
    false_alarms = 0
    for _ in range(200):
        events = []
        for n in range(80):
            source = "mail" if n % 2 else "ads"
            events.append(event(f"v{n}", "x", "view", n, source=source))
            events += [
                event(f"v{n}", "x", what, n + 0.1) for what in ("like", "share", "cart") if random.random() < 0.4
            ]
        sources = Sources()
        sources.add(sessions_of([block(events)]))
        tests = sources.differences()
        assert len(tests) == 3
        assert [test.adjusted for test in tests] == sorted(test.adjusted for test in tests)
        false_alarms += tests[0].adjusted < 0.05
    # Three tests of 5 % each would sound 14 % of the time: 28 of 200. At most 5 % of families do, σ 3.
    assert false_alarms <= 10 + 3 * 3.1


@unhurried
@given(histories())
def test_halves_count_as_the_whole(history: tuple[list[Event], list[int]]) -> None:
    rows = sessions_of([block(history[0])])
    whole, first, second = Sources(), Sources(), Sources()
    whole.add(rows)
    first.add(rows.take(np.arange(len(rows)) % 2 == 0))
    second.add(rows.take(np.arange(len(rows)) % 2 == 1))
    first.merge(second)
    assert [told.events.tolist() for told in first.actions()] == [told.events.tolist() for told in whole.actions()]
    assert first.categories() == whole.categories()


# day   0    2    5         40   (the data end)
#   a   ●────●────●               waits 2 and 3 days, then none for 35: churned at age 5
#   b   ●                    ●    waits 40 days; there at the end
#   c   ●                         churned at age 0
def test_returns_and_lifetimes_by_hand() -> None:
    days = {"a": (0, 2, 5), "b": (0, 40), "c": (0,)}
    visitors = Visitors()
    events = [event(who, "x", "view", day * DAY) for who, seen in days.items() for day in seen]
    visitors.add(sessions_of([in_order(events)]))
    back = visitors.returning()
    # Waits: 2, 3, 40 ended in a visit; 35 (a), 40 (c) and 0 (b) are cut off.
    assert back.at_risk[[0, 1, 2, 3, 4, 36]].tolist() == [6.0, 5.0, 5.0, 4.0, 3.0, 2.0]
    assert back.survival[[1, 2, 3, 40]].tolist() == pytest.approx([1.0, 0.8, 0.6, 0.3])
    lifetime = visitors.lifetime()
    assert lifetime.survival[[0, 4, 5, 39]].tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3, 1 / 3])


# week   0    1    2    3
#   a    5    ·    10        observed for 3 whole weeks, the end being at day 21
#   b         1              came at day 8: observed for 1 whole week
def test_the_value_is_of_those_who_were_there_long_enough() -> None:
    events = [
        event("a", "x", "buy", 0, price=5.0, source="mail"),
        event("a", "x", "buy", 15 * DAY, price=10.0),
        event("b", "x", "buy", 8 * DAY, price=1.0, source="mail"),
        event("end", "x", "view", 21 * DAY),
    ]
    visitors = Visitors()
    visitors.add(sessions_of([in_order(events)]))
    value = next(told for told in visitors.values() if told.source == "mail")
    assert (value.visitors, value.observed[:4].tolist()) == (2, [2, 1, 1, 0])
    assert value.mean[:3].tolist() == [3.0, 3.0, 13.0]
    assert np.isnan(value.mean[3])
    # Week 0: (5 − 3)/2 and (1 − 3)/2: √2 · 1.96.
    assert value.high[0] - value.mean[0] == pytest.approx(1.959964 * np.sqrt(2.0))


def shop(count: int, seed: int) -> list[Event]:
    """Visitors who come in the course of 12 weeks and buy for 10 at random, on average 0.5 times a week, for ever."""
    random = np.random.default_rng(seed)
    events = []
    for n in range(count):
        first = float(random.uniform(0, 12 * WEEK))
        events.append(event(f"v{n}", "x", "view", first, source="mail"))
        times = random.uniform(first, 16 * WEEK, random.poisson(0.5 * (16 * WEEK - first) / WEEK))
        events += [event(f"v{n}", f"x{random.integers(1e6)}", "buy", time, price=10.0) for time in times.tolist()]
    return events


def test_the_planted_value_lies_within_the_interval() -> None:
    inside = 0
    for seed in range(40):
        visitors = Visitors()
        visitors.add(sessions_of([in_order(shop(60, seed))]))
        (value,) = visitors.values()
        # After 4 weeks 4 · 0.5 · 10; a purchase told twice within a second would be one, and is rare.
        inside += value.low[3] <= 20.0 <= value.high[3]
    assert inside >= 34  # 95 % of 40 are 38, σ 1.4


def test_a_sample_of_visitors_is_fair_and_does_not_depend_on_how_sessions_come() -> None:
    rows = sessions_of([in_order(shop(400, 9))])
    whole, pieces = Visitors(followed_max=100), Visitors(followed_max=100)
    whole.add(rows)
    for part in np.array_split(np.arange(len(rows)), 7):
        pieces.add(rows.take(part))
    assert (whole.sampled, len(whole)) == (pieces.sampled, len(pieces))
    assert whole.sampled in (0.25, 0.125)
    assert 25 <= len(whole) <= 100
    assert whole.returning().at_risk.tolist() == pieces.returning().at_risk.tolist()
    assert whole.values()[0].mean == pytest.approx(pieces.values()[0].mean, nan_ok=True)
    assert abs(whole.values()[0].mean[3] - 20.0) < 6.0


@files
def test_visitors_of_a_real_file_are_those_of_pandas(name: str, format: str) -> None:
    with BlockSource(found(name), FORMATS[format], now_ms=NOW_MS) as source:
        rows = sessions_of([Block.concat(list(source))])
    visitors = Visitors()
    for part in np.array_split(np.arange(len(rows)), 5):
        visitors.add(rows.take(part))
    frame = pd.DataFrame({"visitor": rows.visitor, "first": rows.first_ms, "last": rows.last_ms, "spend": rows.spend})
    frame = frame.sort_values(["visitor", "last"], kind="stable")
    wait = frame["first"] - frame.groupby("visitor")["last"].shift()
    days = (wait[wait >= 0] // 86_400_000).astype(int)
    newest = int(frame["last"].max())
    waiting = (newest - frame.groupby("visitor")["last"].max()) // 86_400_000
    at_risk = [int((days >= day).sum() + (waiting >= day).sum()) for day in range(60)]
    assert visitors.sampled == 1.0
    assert visitors.returning().at_risk[:60].tolist() == at_risk
    by = frame.groupby("visitor").agg(first=("first", "first"))
    frame["age"] = (frame["last"] - frame["visitor"].map(by["first"])) // (7 * 86_400_000)
    told = sum(value.observed[0] * np.nan_to_num(value.mean[0]) for value in visitors.values())
    there = by[(newest - by["first"]) // (7 * 86_400_000) > 0].index
    assert told == pytest.approx(frame[frame["visitor"].isin(there) & (frame["age"] == 0)]["spend"].sum())
    assert len(visitors.values()[0].mean) == WEEKS
