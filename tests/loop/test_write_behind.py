"""What trails a partition's scores: the writes that wait for the view, and the sessions that wait for their end."""

from __future__ import annotations

import json

import pytest

from stream_app.backends.ports import ViewError
from stream_app.behind import BATCHES_MAX
from stream_app.core import processor, state
from stream_app.core.effects import decode_position
from tests.core.streams import GAP, event
from tests.loop.shop import (
    POINTS,
    STREAM,
    CrashError,
    Segment,
    Shop,
    by_event,
    by_session,
    check_same,
    small_cache,
)

# ---- behind ---------------------------------------------------------------------------------------------------------


async def test_scores_go_on_without_the_view_up_to_a_bound_and_all_is_written_when_it_is_back() -> None:
    shop = Shop(records_max=1)
    shop.say("a", "view_item", 0)
    await shop.settle()
    committed = shop.broker.commits[-1][:2]
    shop.view.down = True
    for n in range(1, 40):
        shop.say("a", "view_item", n / 10)
    # One batch is in the writer's hands, the queue is full, and one more was published before that was seen.
    bound = 1 + BATCHES_MAX + 2
    await shop.until(lambda: len(shop.broker.outputs["scores"]) == bound)
    for _ in range(20):
        await shop.until(lambda: True)
    assert len(shop.broker.outputs["scores"]) == bound
    assert shop.broker.commits[-1][:2] == ((bound, 0) if shop.exactly_once else committed)
    assert len(shop.partition.behind.unwritten) == 1
    shop.view.down = False
    await shop.settle()
    assert len(shop.broker.outputs["scores"]) == 40
    assert shop.partition.behind.unwritten == {}
    assert shop.position().events_offset == 40
    await shop.end()


async def test_visitors_whose_state_waits_for_the_view_are_taken_from_memory() -> None:
    shop = Shop(rules=small_cache())
    shop.say("a", "view_item", 0)
    shop.say("b", "view_item", 0)
    await shop.settle()
    # Each is evicted by the other, and the view knows neither of their newest states.
    calm = shop.view.write
    waiting: list[int] = []

    async def held_write(partition: int, **arguments: object) -> object:
        waiting.append(1)
        if len(waiting) < 30:
            raise ViewError("slow")
        return await calm(partition, **arguments)  # type: ignore[arg-type]

    shop.view.write = held_write  # type: ignore[method-assign,assignment]
    for n in range(1, 8):
        shop.say("a" if n % 2 else "b", "view_item", n)
        target = n + 2
        await shop.until(lambda target=target: len(shop.broker.outputs["scores"]) >= target)  # type: ignore[misc]
    await shop.settle()
    features = [json.loads(value) for _, value in shop.broker.outputs["features"]]
    assert [(r["visitor_id"], r["events"]) for r in features[-2:]] == [("b", 4), ("a", 5)]
    assert shop.partition.behind.unwritten == {}
    await shop.end()


async def test_offsets_are_committed_now_and_then_even_if_the_view_never_catches_up() -> None:
    shop = Shop(records_max=1, lease_s=0.0)
    shop.say("a", "view_item", 0)
    await shop.settle()
    calm = shop.view.write

    async def slow_write(partition: int, **arguments: object) -> object:
        # Always one batch behind.
        await shop.until(lambda: shop.partition.behind.queued > 0 or len(shop.broker.outputs["scores"]) == 100)
        return await calm(partition, **arguments)  # type: ignore[arg-type]

    shop.view.write = slow_write  # type: ignore[method-assign,assignment]
    for n in range(1, 100):
        shop.say("a", "view_item", n / 10)
    await shop.until(lambda: len(shop.broker.outputs["scores"]) == 100)
    assert len({events for events, _, _ in shop.broker.commits}) >= 99 // BATCHES_MAX - 2
    shop.view.write = calm  # type: ignore[method-assign]
    shop.say("a", "view_item", 10)
    await shop.settle()
    await shop.end()


# ---- time -----------------------------------------------------------------------------------------------------------


async def test_an_idle_partitions_sessions_are_closed_by_the_clock() -> None:
    # view at 0 ─ nothing more: over when 30 minutes of gap and 1 of grace have passed on the wall clock
    shop = Shop()
    for visitor in "abc":
        shop.say(visitor, "view_item", 0)
    await shop.settle()
    shop.clock += 30.9 * 60
    for _ in range(10):
        await shop.until(lambda: True)
    assert shop.broker.outputs["closed"] == []
    shop.clock += 0.1 * 60
    await shop.until(lambda: len(shop.broker.outputs["closed"]) == 3)
    await shop.settle()
    example = json.loads(shop.broker.outputs["examples"][0][1])
    assert (example["label"], example["label_source"]) == (0, "session_end")
    assert example["position"][:2] == [2, example["event_time"] + GAP]
    await shop.end()
    (_, _, metadata) = shop.broker.commits[-1]
    committed = decode_position(metadata)
    assert committed is not None
    assert committed.seq == shop.position().seq


async def test_what_the_clock_closed_is_not_closed_again_by_the_next_owner() -> None:
    for point in (*POINTS[1:], None):
        shop = Shop()
        for visitor in "abc":
            shop.say(visitor, "view_item", 0)
        await shop.settle()
        if point is not None:
            shop.broker.fail[point].append(CrashError())
        shop.clock += 3_600
        if point is None:
            await shop.until(lambda shop=shop: bool(shop.broker.outputs["closed"]))  # type: ignore[misc]
            await shop.crash()
        await shop.close_all()
        await shop.until(lambda shop=shop: shop.crashes == 1)  # type: ignore[misc]
        await shop.end()
        results = shop.results()
        assert len(results.closed) == 3
        assert len(results.examples) == 3
        assert all(state.decode(blob).history.sessions == 1 for blob in results.states.values())


async def test_more_sessions_than_one_batch_may_end_are_ended_by_several_before_anything_new_is_read() -> None:
    visitors = processor.DUE_VISITORS_MAX + 500
    shop = Shop(records_max=20_000)
    shop.append(Segment([event(n, f"v{n}", "view_item", n / 1_000) for n in range(visitors)], []))
    await shop.settle()
    batches = shop.batches
    shop.clock += 3_600
    await shop.until(lambda: len(shop.broker.outputs["closed"]) == visitors)
    await shop.settle()
    assert shop.batches == batches + 2
    positions = [json.loads(value)["position"] for _, value in shop.broker.outputs["examples"]]
    assert positions == sorted(positions)
    assert not len(shop.partition.processor.schedule)
    await shop.end()


async def test_a_crash_between_the_batches_of_many_ends_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "DUE_VISITORS_MAX", 3)
    calm = await Shop().through(STREAM)
    for point in POINTS[1:]:
        shop = Shop()

        def strike(number: int, shop: Shop = shop, point: str = point) -> None:
            if number % 4 == 0 and shop.crashes < 8:
                shop.broker.fail[point].append(CrashError())

        shop.at_batch = strike
        results = await shop.through(STREAM)
        check_same(results._replace(examples={}, closed={}), calm._replace(examples={}, closed={}))
        assert by_event(results) == by_event(calm)
        assert by_session(results) == by_session(calm)
        assert shop.crashes > 3


async def test_an_example_keeps_its_position_when_an_event_ends_what_the_clock_had_ended_before_a_crash() -> None:
    # a, b, c at 0 ─ the clock ends them: examples acknowledged, states not ─ crash ─ x, y, z at 60 end them again
    shop = Shop()
    for visitor in "abc":
        shop.say(visitor, "view_item", 0)
    await shop.settle()
    shop.broker.fail["changelog"].append(CrashError())
    shop.clock += 3_600
    await shop.until(lambda: shop.crashes == 1)
    for visitor in "xyz":
        shop.say(visitor, "view_item", 60)
    await shop.settle()
    await shop.end()
    assert len(shop.results().examples) == 3
