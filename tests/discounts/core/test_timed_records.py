"""What the worker's own bytes tell of time comes to the curves of the sessions that they are about."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_app.discounts.core.timed_records import WEIGHT_MAX, take_closed, take_example
from stream_app.discounts.core.timing import EDGES_S, Timing
from tests.core.streams import DAY, RULES, Partition, Record, at, event, label

#: So large that every event is an example.
WHOLE = replace(RULES, reservoir_size=24)
#: Between two sessions of a visitor, in minutes.
APART = 600.0
CATEGORIES = ("shoes", "hats", None)


class Visit(NamedTuple):
    """A session by hand: the pauses before its events but the first, what each touches, and whether it buys at last."""

    pauses_s: tuple[float, ...]
    categories: tuple[str | None, ...]
    bought: bool


@st.composite
def visits(draw: Any) -> Visit:
    pauses_s = tuple(draw(st.lists(st.floats(0.002, 1_700.0), max_size=8)))
    touched = tuple(draw(st.sampled_from(CATEGORIES)) for _ in range(len(pauses_s) + 1))
    return Visit(pauses_s, touched, bool(pauses_s) and draw(st.booleans()))


def events_of(told: Sequence[Visit]) -> list[Record]:
    """Each visit by a visitor of its own, at the same times, in the order of time; who buys does so with the last."""
    rows = []
    for n, visit in enumerate(told):
        seconds = 0.0
        for place, category in enumerate(visit.categories):
            seconds += visit.pauses_s[place - 1] if place else 0.0
            last = place == len(visit.pauses_s)
            rows.append((round(seconds * 1000), n, category, visit.bought and last and place > 0))
    records = []
    for offset, (ms, n, category, buys) in enumerate(sorted(rows, key=lambda row: row[:2])):
        fields: dict[str, Any] = {} if category is None else {"category": category}
        kind = "purchase" if buys else "view_item"
        order = {"order_id": f"o{n}"} if buys else {}
        records.append(event(offset, f"v{n}", kind, ms / 60_000, **fields, **order))
    return records


def learned(partition: Partition) -> Timing:
    """From the bytes of both topics."""
    timing = Timing()
    for closed in partition.closed:
        take_closed(timing, json.dumps(closed).encode())
    for example in partition.examples:
        take_example(timing, json.dumps(example).encode())
    return timing


def rounded(seconds: float) -> float:
    """As a feature tells it: times are ms, and ln(1 + s) has four decimals."""
    return math.expm1(round(math.log1p(round(1000 * seconds) / 1000) * 10_000) / 10_000)


def folded(told: Sequence[Visit], partition: Partition) -> Timing:
    """The same sessions, folded by hand; only what counts as now is asked of the records."""
    ended = {closed["visitor_id"]: closed["end"] for closed in partition.closed}
    timing = Timing()
    for n, visit in enumerate(told):
        # A purchase touches nothing.
        touched = [c for c in (visit.categories[:-1] if visit.bought else visit.categories) if c is not None]
        category, end = touched[-1] if touched else None, ended[f"v{n}"]
        active_s = sum(round(1000 * p) for p in visit.pauses_s) / 1000
        timing.session(category, active_s=active_s, bought=visit.bought, now_ms=end)
        told_ms = end if visit.bought else end + RULES.gap_ms
        for pause_s, of in zip(visit.pauses_s, pause_categories(visit), strict=True):
            timing.pause(of, rounded(pause_s), bought=visit.bought, now_ms=told_ms)
        if not visit.bought:
            timing.pause(visit.categories[0], None, bought=False, now_ms=told_ms)
    return timing


def pause_categories(visit: Visit) -> list[str | None]:
    """Of the event after each pause or, if that has none, the one first seen last."""
    found: list[str | None] = []
    seen = [visit.categories[0]] if visit.categories[0] else []
    for place, category in enumerate(visit.categories[1:], 1):
        if visit.bought and place == len(visit.pauses_s):
            category = None
            seen = []  # a purchase begins anew
        elif category is not None and category not in seen:
            seen.append(category)
        found.append(category or (seen[-1] if seen else None))
    return found


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(visits(), min_size=1, max_size=12))
def test_the_curves_of_the_bytes_are_those_of_the_sessions(told: list[Visit]) -> None:
    partition = Partition(WHOLE)
    partition.step(events_of(told))
    partition.step(idle_ms=DAY)
    assert len(partition.closed) == len(told)
    found, expected = learned(partition), folded(told, partition)
    one, other = found.export(), expected.export()
    assert one["own"].keys() == other["own"].keys()
    for name in (None, *one["own"]):
        for clock in ("age", "quiet"):
            tables = [(each["all"] if name is None else each["own"][name])[clock] for each in (one, other)]
            units = [found._unit(), expected._unit()]
            np.testing.assert_allclose(tables[0] / units[0], tables[1] / units[1], rtol=1e-9, atol=1e-12)


def test_a_sample_of_each_episode_comes_to_nearly_the_same_curve() -> None:
    rng = np.random.default_rng(6)
    told = [
        Visit(tuple(rng.exponential(60.0, n).round(3) + 0.002), ("shoes",) * (n + 1), bool(rng.random() < 0.3))
        for n in rng.integers(1, 18, 900)
    ]
    curves = []
    for rules in (WHOLE, replace(RULES, reservoir_size=6)):
        partition = Partition(replace(rules, cache_visitors_max=1_000))
        partition.step(events_of(told))
        partition.step(idle_ms=DAY)
        curves.append(learned(partition))
    whole, sampled = (timing.window("quiet", "shoes") for timing in curves)
    assert whole is not None
    assert sampled is not None
    assert sampled.earliest_s == pytest.approx(whole.earliest_s, rel=0.08)
    assert sampled.latest_s == pytest.approx(whole.latest_s, rel=0.08)
    assert curves[1].purchases("quiet") == pytest.approx(curves[0].purchases("quiet"), rel=0.03)


# ---- labels ---------------------------------------------------------------------------------------------------------


def quiet(partition: Partition) -> dict[bool, list[float]]:
    """How often a pause of each bin was counted, by whether its session bought: faded by nothing to speak of."""
    timing = learned(partition)
    table = timing.export()["all"]["quiet"] / timing._unit()
    found: dict[bool, list[float]] = defaultdict(list)
    for bought in (False, True):
        for place in np.flatnonzero(table[:, int(bought)] > 1e-6):
            found[bought] += [round(float(EDGES_S[place]), 1)] * round(float(table[place, int(bought)]))
    return dict(found)


VIEWS = [event(n, "v", "view_item", minutes, category="shoes") for n, minutes in enumerate((0.0, 1.0, 3.0))]
NEVER = round(float(EDGES_S[-2]), 1)
ONE, TWO = (round(float(EDGES_S[int(math.log1p(s) * 6)]), 1) for s in (60.0, 120.0))


def test_a_checkout_that_only_a_label_tells_makes_pauses_of_a_buyer() -> None:
    partition = Partition()
    partition.step(VIEWS)
    assert quiet(partition) == {}
    partition.step(labels=[label(0, "v", 3.5, "o1")])
    partition.step(idle_ms=DAY)
    assert quiet(partition) == {True: [ONE, TWO]}


def test_a_checkout_told_late_and_an_order_taken_back_are_counted_again_as_they_were() -> None:
    partition = Partition()
    partition.step(VIEWS)
    partition.step(idle_ms=2 * RULES.gap_ms)
    assert quiet(partition) == {False: [ONE, TWO, NEVER]}
    partition.step(labels=[label(0, "v", 3.5, "o1")])
    assert quiet(partition) == {True: [ONE, TWO]}
    partition.step(labels=[label(1, "v", 3.5, "o1", kind="cancel")])
    assert quiet(partition) == {False: [ONE, TWO, NEVER]}


def test_what_comes_after_a_purchase_and_further_rows_of_its_order_are_no_pauses() -> None:
    partition = Partition()
    partition.step([
        *VIEWS[:2],
        event(2, "v", "purchase", 3, order_id="o1"),
        event(3, "v", "purchase", 3, order_id="o1", item_id="second row"),
        event(4, "v", "view_item", 8),
        event(5, "v", "purchase", 9, order_id="o2"),
    ])  # fmt: skip
    partition.step(idle_ms=DAY)
    assert quiet(partition) == {True: [ONE, TWO]}


# ---- what is left out -----------------------------------------------------------------------------------------------


def test_a_session_that_a_bound_has_cut_tells_nothing_of_its_length() -> None:
    partition = Partition()
    # More open sessions than a visitor may have: the oldest one is cut.
    partition.step([event(n, "v", "view_item", n / 10, session_id=f"s{n}") for n in range(5)])
    partition.step(idle_ms=DAY)
    assert sorted(closed["reason"] for closed in partition.closed) == ["bound", "gap", "gap", "gap", "gap"]
    assert learned(partition).export()["all"]["age"].sum() == pytest.approx(4.0, rel=1e-3)


def test_a_crawlers_episode_is_not_counted() -> None:
    partition = Partition()
    events = round(WEIGHT_MAX) * RULES.reservoir_size
    partition.step([event(n, "bot", "view_item", n / 60) for n in range(events + 1)])
    partition.step(idle_ms=DAY)
    assert {example["weight"] for example in partition.examples} == {(events + 1) / RULES.reservoir_size}
    assert quiet(partition) == {}


@pytest.mark.parametrize(
    "value",
    [
        None, b"", b"{", b"[]", b"\xff", b'{"end": 1}',
        json.dumps({"end": 10**18, "duration_ms": 5, "purchases": 0, "reason": "gap"}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_record_or_of_no_time_is_passed_over(value: bytes | None) -> None:
    timing = Timing()
    take_closed(timing, value)
    take_example(timing, value)
    assert timing.export()["all"]["age"].sum() == timing.export()["all"]["quiet"].sum() == 0.0


@pytest.mark.parametrize(
    ("changed", "counted"),
    [({}, 1.0), ({"weight": 0.0}, 0.0), ({"weight": -1.0}, 0.0), ({"weight": 1e9}, 0.0), ({"label_time": 10**18}, 0.0)],
)
def test_an_example_with_numbers_beyond_reason_is_passed_over(changed: dict[str, Any], counted: float) -> None:
    example = {
        "event_type": "view_item", "event_time": at(0), "events": 2, "keys": {},
        "features": {"gap": 800.0, "purchases": 0.0}, "label": 1, "weight": 1.0, "label_time": at(0), **changed,
    }  # fmt: skip
    timing = Timing()
    take_example(timing, json.dumps(example).encode())
    table = timing.export()["all"]["quiet"]
    assert table.sum() == counted
    # Longer than any that is told apart: in the last bin.
    assert table[-1, 1] == counted
