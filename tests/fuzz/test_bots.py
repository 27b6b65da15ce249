"""Bounded memory: one visitor with very many events, very many visitors with one, and what shows them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from stream_app.core import state
from stream_app.core.processor import DUE_VISITORS_MAX, PartitionProcessor
from stream_app.core.schedule import BlobCache, ExpirySchedule
from stream_app.core.session import SESSION_EVENTS_MAX
from tests.core.streams import RULES, T0, ConstantScorer, Record, event
from tests.fuzz.hostile_partition import check_bounds

KINDS = ("view_item", "view_item", "search", "add_to_cart", "remove_from_cart", "page_view", "purchase", "like")


def bot_event(n: int, *, bought: bool) -> Record:
    """The n-th of a crawler that never looks at an item twice, ten a second."""
    kind = KINDS[n % (8 if bought else 6)]
    names = {"item_id": f"item {n}", "category": f"category {n}", "brand": f"brand {n}", "order_id": f"order {n}"}
    return event(n, "bot", kind, n / 600, price=1.0 + n % 90, **names)


@pytest.mark.parametrize("bought", [False, True])
def test_a_visitor_with_30_000_events_keeps_a_small_state_and_is_counted(bought: bool) -> None:
    processor = PartitionProcessor(replace(RULES, cache_visitors_max=10), partition=0)
    sizes, bound, scored = [], 0, 0
    for start in range(0, 30_000, 500):
        plan = processor.plan([bot_event(n, bought=bought) for n in range(start, start + 500)], [])
        effects = processor.apply(plan, dict.fromkeys(plan.missing), ConstantScorer(), now_ms=T0)
        processor.committed(effects)
        (blob,) = effects.states.values()
        check_bounds(state.decode(blob))
        sizes.append(len(blob))
        bound += effects.sessions_bound
        scored += len(effects.scores)
    assert scored == 30_000
    # A session is over after 10,000 events; what is kept of the bot does not grow after its first thousand.
    assert bound == (30_000 - 1) // SESSION_EVENTS_MAX
    assert max(sizes) < 20_000
    assert max(sizes[2:]) < 1.5 * sizes[2]
    assert len(processor.schedule) == len(processor.cache) == 1


def test_visitors_with_one_event_each_are_kept_up_to_the_cache_and_scheduled_until_their_gap_has_passed() -> None:
    # 100 a second of the shop's time, so that 18,000 come within a gap of 3 minutes.
    rules = replace(RULES, cache_visitors_max=1_000, gap_ms=180_000, grace_ms=10_000)
    processor = PartitionProcessor(rules, partition=0)
    open_most = closed = 0
    view: dict[str, bytes] = {}
    for start in range(0, 30_000, 500):
        events = [event(n, f"visitor {n}", "view_item", n / 6_000) for n in range(start, start + 500)]
        plan = processor.plan(events, [])
        effects = processor.apply(plan, {v: view.get(v) for v in plan.missing}, ConstantScorer(), now_ms=T0)
        processor.committed(effects)
        view.update(effects.states)
        closed += effects.sessions_closed
        open_most = max(open_most, len(processor.schedule))
        assert len(processor.cache) <= 1_000
        # Old entries of the heap are cleared away before they outnumber the live ones.
        assert len(processor.schedule._heap) <= 2 * len(processor.schedule) + 1_024
    assert 18_000 <= open_most <= 19_000 + 500
    assert closed >= 30_000 - open_most


def test_a_scheduled_visitor_takes_less_than_half_a_kilobyte() -> None:
    schedule = ExpirySchedule()
    schedule.update({f"visitor-{n:028}": T0 + n for n in range(20_000)})
    entries = sys.getsizeof(schedule.deadlines) + sys.getsizeof(schedule._heap)
    for visitor, deadline in schedule.deadlines.items():
        entries += sys.getsizeof(visitor) + sys.getsizeof(deadline)
    entries += sum(sys.getsizeof(entry) for entry in schedule._heap)
    assert entries / 20_000 < 500


def test_the_cache_forgets_the_least_recently_used() -> None:
    cache = BlobCache(3)
    cache.put({name: name.encode() for name in "abc"})
    cache.get("a")
    cache.put({"d": b"d"})
    assert [name in cache for name in "abcd"] == [True, False, True, True]


def test_very_many_visitors_that_end_at_one_moment_end_a_batch_at_a_time_and_each_once() -> None:
    # 9,000 visitors under one event time, as from a bot with a new name each time; then silence.
    processor = PartitionProcessor(replace(RULES, cache_visitors_max=100_000), partition=0)
    view: dict[str, bytes] = {}
    closed: list[bytes] = []
    positions: list[list[int]] = []
    for start in (*range(0, 9_000, 3_000), None, None, None, None, None, None):
        numbers = () if start is None else range(start, start + 3_000)
        idle_ms = 0 if start is not None else 86_400_000
        plan = processor.plan([event(n, f"visitor {n}", "view_item", 0) for n in numbers], [], idle_ms=idle_ms)
        effects = processor.apply(plan, {v: view.get(v) for v in plan.missing}, ConstantScorer(), now_ms=T0)
        processor.committed(effects)
        view.update(effects.states)
        assert effects.sessions_closed <= DUE_VISITORS_MAX
        closed += [key for key, _ in effects.closed]
        positions += [json.loads(value)["position"] for _, value in effects.examples]
    assert len(closed) == len(set(closed)) == 9_000
    # The trainer takes positions that grow.
    assert positions == sorted(positions)
    assert len({tuple(position) for position in positions}) == 9_000
