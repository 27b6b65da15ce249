"""A partition's loop on the memory twins: whatever fails, wherever it crashes, the same comes out."""

from __future__ import annotations

import asyncio

import pytest

from stream_app.backends.memory import MemoryView
from stream_app.backends.ports import LogError, ViewError
from stream_app.behind import BATCHES_MAX
from stream_app.core import state
from tests.core.streams import RULES, Partition
from tests.loop.shop import (
    PATIENCE_S,
    POINTS,
    STREAM,
    CrashError,
    Segment,
    Shop,
    StumblingView,
    check_same,
    small_cache,
    undisturbed,
)

# ---- nothing happens ------------------------------------------------------------------------------------------------


async def test_every_event_is_scored_in_order_every_label_is_used_and_every_session_ends() -> None:
    shop = Shop()
    results = await shop.through(STREAM)
    events = [record for segment in STREAM for record in segment.events]
    assert list(results.scores) == [f"e{n}" for n, r in enumerate(events) if r.value != b"not JSON"]
    assert list(results.features) == list(results.scores)
    broken = [n for n, record in enumerate(events) if record.value == b"not JSON"]
    assert results.dead_letters == {(b"not JSON", "not_json", n) for n in broken}
    sources = {example["label_source"] for example in results.examples.values()}
    assert sources == {"purchase", "label", "session_end"}
    assert all(not state.decode(blob).sessions for blob in results.states.values())
    # One example for each event that was sampled, and a correction for some of those.
    first = [example for example in results.examples.values() if example["previous"] < 0]
    ids = {example["event_id"] for example in first}
    assert len(ids) == len(first)
    corrected = [example for example in results.examples.values() if example["previous"] >= 0]
    assert corrected
    assert ids.issuperset(example["event_id"] for example in corrected)
    assert len(shop.broker.outputs["scores"]) == len(results.scores)
    assert (shop.partition.state, shop.partition.problem) == ("stopped", "given back")


async def test_the_loop_says_what_the_core_says() -> None:
    shop, bare = Shop(records_max=1_000), Partition()
    results = await shop.through(STREAM[:1])
    bare.scorer = shop.partition.scorer()
    bare.step(STREAM[0].events, STREAM[0].labels)
    assert list(results.features.values()) == bare.features
    assert [s["score"] for s in results.scores.values()] == [s["score"] for s in bare.scores]


async def test_a_second_owner_after_a_clean_hand_over_goes_on_where_the_first_stopped() -> None:
    shop = Shop()
    for segment in STREAM:
        shop.append(segment)
        await shop.settle()
        await shop.end()
        assert shop.broker.commits[-1][:2] == (len(shop.broker.events), len(shop.broker.labels))
        shop.start()
    await shop.close_all()
    await shop.end()
    check_same(shop.results(), await undisturbed())
    assert len(shop.broker.outputs["scores"]) == len((await undisturbed()).scores)


async def test_with_a_cache_of_one_visitor_states_come_back_from_the_view() -> None:
    check_same(await Shop(rules=small_cache()).through(STREAM), await undisturbed())


async def test_batches_of_any_size_give_the_same_when_labels_come_between_them() -> None:
    events = [Segment(s.events, []) for s in STREAM]
    whole = await Shop(records_max=1_000).through(events)
    for records_max in (1, 5, 13):
        check_same(await Shop(records_max=records_max).through(events), whole)


# ---- something fails, or all of it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [LogError("the broker is away"), CrashError()], ids=["fails", "crashes"])
@pytest.mark.parametrize("point", POINTS)
async def test_a_failure_or_a_crash_at_any_point_of_the_log_changes_nothing_that_comes_out(
    point: str, error: Exception
) -> None:
    for batch in (1, 2, 6, 7, 11, 18):
        shop = Shop(rules=small_cache() if batch % 2 else RULES)

        def strike(number: int, shop: Shop = shop, batch: int = batch) -> None:
            if number == batch:
                shop.broker.fail[point].append(error)

        shop.at_batch = strike
        check_same(await shop.through(STREAM), await undisturbed())
        assert not shop.broker.fail[point]
        assert shop.crashes == isinstance(error, CrashError)


@pytest.mark.parametrize("error", [LogError("the broker is away"), CrashError()], ids=["fails", "crashes"])
@pytest.mark.parametrize("point", ["take_over", "restore"])
async def test_a_failure_or_a_crash_while_taking_over_is_begun_again(point: str, error: Exception) -> None:
    shop = Shop()
    shop.broker.fail[point] += [error, error]
    shop.append(STREAM[0])
    await shop.settle()
    shop.view.wipe()
    shop.broker.fail[point] += [error, error]
    await shop.crash()
    check_same(await shop.through(STREAM[1:]), await undisturbed())
    assert not shop.broker.fail[point]


@pytest.mark.parametrize("error", [ViewError("Redis is away"), CrashError()], ids=["fails", "crashes"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", ["load", "write"])
async def test_a_failure_or_a_crash_around_a_call_of_the_view_changes_nothing_that_comes_out(
    call: str, moment: str, error: Exception
) -> None:
    for batch in (1, 2, 8, 15):
        view = StumblingView()
        shop = Shop(view=view, rules=small_cache())
        strikes = getattr(view, moment)[call]

        def strike(number: int, strikes: list[Exception] = strikes, batch: int = batch) -> None:
            if number == batch:
                strikes.append(error)

        shop.at_batch = strike
        check_same(await shop.through(STREAM), await undisturbed())
        assert not strikes


@pytest.mark.parametrize("error", [ViewError("Redis is away"), CrashError()], ids=["fails", "crashes"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", ["load", "clear", "write", "open"])
async def test_a_failure_or_a_crash_in_the_midst_of_a_restore_is_begun_again(
    monkeypatch: pytest.MonkeyPatch, call: str, moment: str, error: Exception
) -> None:
    monkeypatch.setattr("stream_app.taking_over._REBUILD_STATES", 2)
    view = StumblingView()
    shop = Shop(view=view)
    for segment in STREAM[:2]:
        shop.append(segment)
        await shop.settle()
    if call != "open":
        view.wipe()
    getattr(view, moment)[call] += [error] * 2
    await shop.crash()
    check_same(await shop.through(STREAM[2:]), await undisturbed())
    assert not getattr(view, moment)[call]


async def test_crash_upon_crash_is_survived() -> None:
    shop = Shop()

    def strike(number: int) -> None:
        if number < 30:
            point = POINTS[number % len(POINTS)]
            shop.broker.fail[point].append(CrashError() if number % 3 else LogError("away"))

    shop.at_batch = strike
    check_same(await shop.through(STREAM), await undisturbed())
    assert shop.crashes > 5


async def test_an_owner_killed_at_any_moment_is_followed_by_one_that_goes_on() -> None:
    shop = Shop()
    for segment in STREAM:
        shop.append(segment)
        for _ in range(4):
            target = shop.batches + 2
            await shop.until(lambda target=target: shop.batches >= target or shop.settled())  # type: ignore[misc]
            await shop.crash()
        await shop.settle()
    check_same(await shop.through([]), await undisturbed())


# ---- the end --------------------------------------------------------------------------------------------------------


async def test_stop_finishes_what_is_in_hand_and_commits_it() -> None:
    shop = Shop(records_max=4)
    shop.at_batch = lambda number: shop.partition.stop() if number == 3 else None
    shop.append(STREAM[0])
    await shop.task
    assert shop.broker.commits[-1][:2] == (12, 0)
    assert len(shop.broker.outputs["scores"]) + len(shop.broker.dead_letters) == 12
    assert shop.position().events_offset == 12


@pytest.mark.parametrize("more", [1, 2, BATCHES_MAX + 1])
async def test_stop_with_a_view_that_is_away_leaves_the_rest_to_the_changelog(more: int) -> None:
    calm = await Shop(records_max=1).through(STREAM)
    shop = Shop(records_max=1)
    shop.append(STREAM[0])
    await shop.settle()
    target = shop.batches + more
    shop.at_batch = lambda number: shop.partition.stop() if number == target else None
    shop.view.down = True
    shop.append(STREAM[1])
    await asyncio.wait_for(shop.task, PATIENCE_S)
    assert shop.partition.state == "stopped"
    if not shop.exactly_once:  # a transaction commits the offsets before the view follows
        assert shop.broker.commits[-1][:2] == (len(STREAM[0].events), len(STREAM[0].labels))
    shop.view.down = False
    shop.start()
    await shop.settle()
    check_same(await shop.through(STREAM[2:]), calm)


async def test_a_restoring_partition_can_be_stopped() -> None:
    shop = Shop(view=MemoryView())
    shop.view.down = True
    for _ in range(5):
        await shop.until(lambda: True)
    await shop.end()
    assert shop.partition.state == "stopped"
