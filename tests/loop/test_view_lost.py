"""The view is wiped, rolled back, robbed of keys or taken by another owner: noticed, and never scored from."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import Any

import msgspec
import pytest

from stream_app.backends.memory import MemoryLog
from stream_app.behind import BATCHES_MAX
from stream_app.core import state
from stream_app.core.effects import encode_position
from stream_app.core.processor import Rules
from tests.core.streams import RULES
from tests.loop.shop import (
    NUMBER,
    STREAM,
    Shop,
    check_same,
    small_cache,
    undisturbed,
)

# ---- the view is not what it should be ------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 5, 9, 16])
@pytest.mark.parametrize("rules", [RULES, small_cache()], ids=["cached", "loaded"])
async def test_a_view_wiped_in_mid_run_is_restored_from_the_changelog(batch: int, rules: Rules) -> None:
    shop = Shop(rules=rules)
    shop.at_batch = lambda number: shop.view.wipe() if number == batch else None
    check_same(await shop.through(STREAM), await undisturbed())


@pytest.mark.parametrize("crash", [False, True], ids=["while owned", "between owners"])
async def test_a_view_rolled_back_to_an_older_copy_is_never_used(crash: bool) -> None:
    shop = Shop(rules=small_cache())
    shop.append(STREAM[0])
    await shop.settle()
    older = copy.deepcopy((shop.view.positions, shop.view.blobs, shop.view.deadlines))
    shop.append(STREAM[1])
    await shop.settle()
    shop.view.positions, shop.view.blobs, shop.view.deadlines = older
    if crash:
        await shop.crash()
    check_same(await shop.through(STREAM[2:]), await undisturbed())


@pytest.mark.parametrize("crash", [False, True], ids=["evicted", "after a crash"])
async def test_a_lost_key_of_a_visitor_with_an_open_session_is_noticed(crash: bool) -> None:
    shop = Shop(rules=small_cache())
    shop.append(STREAM[0])
    await shop.settle()
    visitors = [visitor for _, visitor in shop.view.blobs if visitor in shop.partition.processor.schedule]
    for visitor in visitors:
        del shop.view.blobs[NUMBER, visitor]
    if crash:
        await shop.crash()
    check_same(await shop.through(STREAM[1:]), await undisturbed())
    assert len(visitors) > 3


async def test_a_restore_of_many_steps_within_one_millisecond_loses_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_app.taking_over._REBUILD_STATES", 2)
    shop = Shop()
    for segment in STREAM:
        shop.append(segment)
        await shop.settle()
    before = dict(shop.view.blobs)
    assert len(before) > 6
    shop.view.wipe()
    await shop.crash()
    await shop.until(lambda: shop.partition.state == "ready")
    assert shop.view.blobs == before
    check_same(await shop.through([]), await undisturbed())


async def test_a_tombstone_in_the_changelog_forgets_the_visitor() -> None:
    # Written by a person who erases a visitor while nobody owns the partition.
    for wipe in (False, True):
        shop = Shop()
        shop.say("a", "view_item", 0)
        shop.say("b", "view_item", 1)
        await shop.settle()
        await shop.end()
        shop.broker.changelog.append(("a", None))
        if wipe:
            shop.view.wipe()
        shop.start()
        await shop.until(lambda shop=shop: shop.partition.state == "ready")  # type: ignore[misc]
        assert [visitor for _, visitor in shop.view.blobs] == ["b"]
        assert list(shop.view.deadlines[NUMBER]) == ["b"]
        assert "a" not in shop.partition.processor.schedule
        await shop.end()


async def test_a_state_of_a_newer_version_stops_the_partition_with_what_to_do() -> None:
    for how in ("loaded", "restored"):
        shop = Shop()
        shop.say("a", "view_item", 0)
        await shop.settle()
        await shop.end()
        blob = bytes([state.STATE_VERSION + 1]) + b"who knows"
        shop.view.blobs[NUMBER, "a"] = blob
        if how == "restored":
            shop.broker.changelog.append(("a", blob))
            shop.view.wipe()
        shop.start()
        shop.say("a", "view_item", 1)
        await shop.task
        assert shop.partition.state == "stopped"
        assert "got state version 2, this program reads version 1: run the version that wrote it" in (
            shop.partition.problem
        )
        assert len(shop.broker.outputs["scores"]) == 1


async def test_offsets_outside_the_log_stop_the_partition_with_what_to_do() -> None:
    shop = Shop()
    shop.say("a", "view_item", 0)
    await shop.settle()
    await shop.end()
    shop.broker.events.clear()
    shop.start()
    await shop.task
    assert shop.partition.state == "stopped"
    assert "got committed offset 1, expected 0 to 0" in shop.partition.problem


# ---- another owner --------------------------------------------------------------------------------------------------


def another_wrote(shop: Shop) -> None:
    """Another owner has taken the partition over and gone ahead."""
    newer = msgspec.structs.replace(shop.position(), seq=shop.position().seq + 5, wall_time=1)
    shop.view.positions[NUMBER] = encode_position(newer)


@pytest.mark.parametrize("rules", [RULES, small_cache()], ids=["at its next write", "at its next load"])
async def test_an_owner_that_sees_a_newer_view_writes_nothing_until_it_has_taken_over_again(rules: Rules) -> None:
    # Another worker has the partition; if the group still gives it to this one after a pause, this one begins anew.
    calm = await undisturbed()
    shop = Shop(rules=rules)
    shop.append(STREAM[0])
    await shop.settle()
    shop.partition.fenced_pause_s = 3_600.0
    another_wrote(shop)
    view = copy.deepcopy(shop.view.blobs)
    shop.append(STREAM[1])
    await shop.until(lambda: shop.partition.state == "fenced")
    assert "the view has seq" in shop.partition.problem
    assert shop.view.blobs == view
    assert len(shop.broker.outputs["scores"]) <= 44 + (BATCHES_MAX + 2) * 8
    await shop.end()
    shop.start()
    await shop.settle()
    check_same(await shop.through(STREAM[2:]), calm)


async def test_an_owner_that_was_fenced_while_it_waited_for_records_publishes_none_of_them() -> None:
    shop = Shop()
    shop.say("a", "view_item", 0)
    await shop.settle()
    shop.partition.fenced_pause_s = 3_600.0
    poll = MemoryLog.poll
    log = shop.partition.log
    published = len(shop.broker.outputs["scores"])

    async def slow_poll(**how: Any) -> object:
        polled = await poll(log, **how)  # type: ignore[arg-type]
        if polled.events:
            # The batch before this one is written while this one is read.
            await shop.until(lambda: not shop.partition.behind.queued)
            await asyncio.sleep(0.01)
        return polled

    log.poll = slow_poll  # type: ignore[method-assign,assignment]
    another_wrote(shop)
    shop.say("a", "view_item", 1)
    await shop.until(lambda: len(shop.broker.outputs["scores"]) == published + 1)
    shop.say("a", "view_item", 2)
    await shop.until(lambda: shop.partition.state == "fenced")
    assert len(shop.broker.outputs["scores"]) == published + 1
    await shop.end()


async def test_an_owner_that_has_not_written_yet_is_not_stopped_by_what_the_former_one_still_writes() -> None:
    # The former owner was paused with a batch in hand, which is in the changelog but not in the view yet.
    shop = Shop()
    shop.say("a", "view_item", 0)
    await shop.settle()
    former = shop.position()
    await shop.end()
    shop.start()
    await shop.until(lambda: shop.partition.state == "ready")
    late = await shop.view.write(
        NUMBER,
        expected_seq=former.seq,
        position=msgspec.structs.replace(former, seq=former.seq + 1, wall_time=1),
        states={"a": b"\x01stale"},
        deadlines={},
    )
    assert late is not None
    shop.say("a", "view_item", 1)
    await shop.settle()
    await shop.end()
    features = [json.loads(value) for _, value in shop.broker.outputs["features"]]
    assert [record["events"] for record in features] == [1, 2]


async def test_states_without_committed_offsets_need_a_person() -> None:
    # Deleting the events topic deletes the group's offsets of it: the states speak of records that are gone.
    shop = Shop()
    shop.append(STREAM[0])
    await shop.settle()
    await shop.end()
    shop.broker.commits.clear()
    shop.view.wipe()
    published = len(shop.broker.outputs["scores"])
    shop.start()
    await asyncio.wait_for(shop.task, 10)
    assert shop.partition.state == "stopped"
    assert "got no committed offsets, expected some, as the changelog has the states of" in shop.partition.problem
    assert len(shop.broker.outputs["scores"]) == published


async def test_deadlines_that_are_lost_alone_are_missed_by_the_next_owner() -> None:
    # Nobody else would know of them: their sessions would never end.
    shop = Shop()
    for visitor in "abc":
        shop.say(visitor, "view_item", 0)
    await shop.settle()
    await shop.end()
    shop.view.deadlines.clear()
    shop.start()
    await shop.settle()
    await shop.close_all()
    await shop.end()
    assert len(shop.results().closed) == 3


@pytest.mark.parametrize("segments", [1, 2])
async def test_offsets_that_are_lost_alone_are_those_of_the_view(segments: int) -> None:
    # Expired, deleted, or lost by a broker that was killed: nothing is read from the start again, and nothing repeats.
    shop = Shop()
    for segment in STREAM[:segments]:
        shop.append(segment)
        await shop.settle()
    await shop.end()
    shop.broker.commits.clear()
    published = len(shop.broker.outputs["scores"])
    shop.start()
    shop.append(STREAM[segments])
    await shop.until(lambda: shop.partition.state == "ready")
    await shop.settle()
    check_same(await shop.through(STREAM[segments + 1 :]), await undisturbed())
    assert len(shop.broker.outputs["scores"]) > published
