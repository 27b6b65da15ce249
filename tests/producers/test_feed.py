"""Feeding a shop's deliveries: pace, ends, and what goes where. No test here waits for real time."""

from __future__ import annotations

import asyncio
from itertools import islice

import pytest

from producers.memory_sink import MemorySink
from producers.synthetic.feed import feed
from producers.synthetic.noise import BrokenRecord
from producers.synthetic.shop import Shop
from stream_app import topics
from stream_app.core.events import CheckoutLabel, Event

START_MS = 1_735_689_600_000


class FakeClock:
    """Time that moves only by sleeping."""

    def __init__(self, now_ms: int = 1_893_456_000_000) -> None:
        self.seconds = 50.0
        self.wall_ms = now_ms

    def monotonic(self) -> float:
        return self.seconds

    def now_ms(self) -> int:
        return self.wall_ms

    async def sleep(self, seconds: float, stop: asyncio.Event) -> None:
        self.seconds += seconds


def event_at(time_ms: int) -> Event:
    return Event(event_id=f"e{time_ms}", event_type="view_item", event_time=time_ms, visitor_id="v1")


async def test_the_rate_is_events_per_second_of_the_wall_clock() -> None:
    clock, sink = FakeClock(), MemorySink()
    summary = await feed(Shop(seed=1, start_ms=START_MS), sink, rate=100.0, events=1_001, clock=clock)
    assert summary.sent == summary.rows == len(sink.records) == 1_001
    assert summary.seconds == pytest.approx(10.0, abs=0.01)  # the first is due at once
    assert not summary.stopped


async def test_labels_and_broken_records_go_beside_the_events_and_do_not_count_as_events() -> None:
    sink = MemorySink()
    label = CheckoutLabel(visitor_id="v1", order_id="o1", checkout_time=START_MS)
    deliveries = [event_at(START_MS), label, BrokenRecord("v1", b"{", "not_json"), event_at(START_MS + 1)]
    summary = await feed(deliveries, sink, rate=None)
    assert [record.topic for record in sink.records] == [topics.EVENTS, topics.LABELS, topics.EVENTS, topics.EVENTS]
    assert {record.key for record in sink.records} == {b"v1"}
    assert (summary.rows, summary.sent) == (4, 2)


async def test_it_ends_before_the_shops_time_runs_into_the_bound_on_future_events() -> None:
    clock, sink = FakeClock(now_ms=START_MS), MemorySink()
    deliveries = [event_at(START_MS + hour * 3_600_000) for hour in (0, 12, 13, 14)]
    summary = await feed(deliveries, sink, rate=None, clock=clock)
    assert (summary.rows, summary.sent) == (2, 2)
    assert ["reached tomorrow" in note for note in summary.notes] == [True]


async def test_stopping_ends_it_and_what_was_sent_is_flushed() -> None:
    stop = asyncio.Event()
    seen: list[int] = []

    def report(sent: int, event_time: int) -> None:
        seen.append(sent)
        stop.set()

    summary = await feed(
        islice(Shop(seed=1, start_ms=START_MS), 50_000), MemorySink(), rate=None, stop=stop, progress=report
    )
    assert summary.stopped
    assert summary.sent == seen[-1] < 50_000
