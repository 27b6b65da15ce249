"""A visitor is forgotten while the partition works: whole, for good, and whatever fails meanwhile."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from stream_app.backends.ports import LogError, ViewError
from stream_app.core import state
from stream_app.core.forgetting import encode_request
from tests.core.streams import DAY, T0, Record
from tests.loop.shop import (
    NUMBER,
    POINTS,
    STREAM,
    CrashError,
    Results,
    Segment,
    Shop,
    StumblingView,
    check_same,
    latest,
    small_cache,
)


def request(visitor: str, offset: int = -1, *, key: bytes | None = None) -> Record:
    value = encode_request(visitor, requested_at=T0)
    return Record("events", offset, T0 + 300 * DAY, visitor.encode() if key is None else key, value)


def with_requests(segments: list[Segment], asked: dict[int, str]) -> list[Segment]:
    """The same segments with a request after the n-th event of each, and the offsets that follow from it."""
    found, offset = [], 0
    for segment in segments:
        events: list[Record] = []
        for place, record in enumerate(segment.events):
            events.append(record._replace(offset=offset + len(events)))
            if place in asked:
                events.append(request(asked[place], offset + len(events)))
        offset += len(events)
        found.append(Segment(events, segment.labels))
    return found


#: In the midst of a batch, two in a row, and at a segment's end.
ASKED: Final = with_requests(STREAM, {10: "c", 20: "f", 21: "a", 43: "b"})
_undisturbed: list[Results] = []


async def undisturbed() -> Results:
    if not _undisturbed:
        _undisturbed.append(await Shop().through(ASKED))
    return _undisturbed[0]


# ---- what it is -----------------------------------------------------------------------------------------------------


async def test_a_forgotten_visitor_is_nowhere_any_more_and_all_others_are_where_they_were() -> None:
    shop = Shop()
    for visitor in "abc":
        shop.say(visitor, "view_item", 0, item_id="i1")
    await shop.settle()
    assert set(latest(shop.broker.changelog)) == {"a", "b", "c"}
    shop.append(Segment([request("b")], []))
    await shop.settle()
    processor = shop.partition.processor
    assert set(latest(shop.broker.changelog)) == {"a", "c"}
    assert shop.broker.changelog[-1] == ("b", None)
    assert {visitor for _, visitor in shop.view.blobs} == {"a", "c"}
    assert set(shop.view.deadlines[NUMBER]) == {"a", "c"}
    assert "b" not in processor.schedule
    assert processor.cache.get("b") is None
    assert "b" not in shop.partition.behind.unwritten
    await shop.close_all()
    await shop.end()
    results = shop.results()
    assert {visitor for visitor, _ in results.closed} == {"a", "c"}
    assert {example["visitor_id"] for example in results.examples.values()} == {"a", "c"}
    assert results.dead_letters == set()


async def test_what_comes_before_the_request_is_forgotten_and_what_comes_after_is_a_new_visitors() -> None:
    shop = Shop(records_max=100)
    shop.append(Segment([request("a")], []))
    for minutes in (0, 1, 2):
        shop.say("a", "view_item", minutes, item_id="i1")
    shop.append(Segment([request("a")], []))  # all arrive together: one poll
    shop.say("a", "add_to_cart", 3, item_id="i2")
    await shop.settle()
    await shop.end()
    results = shop.results()
    assert [score["events"] for score in results.scores.values()] == [1, 2, 3, 1]
    visitor = state.decode(results.states["a"])
    assert [list(session.items) for session in visitor.sessions] == [["i2"]]
    assert len(visitor.recent) == 1
    assert visitor.history == state.History()


async def test_an_open_session_is_dropped_without_an_end_and_nothing_is_learned_from_it() -> None:
    results = await undisturbed()
    plain = await Shop().through(STREAM)
    assert set(results.scores) == set(plain.scores)
    assert len(results.examples) < len(plain.examples)
    forgotten = {"a", "b", "c", "f"}
    same = {name for name in plain.states if name not in forgotten}
    assert {name: results.states[name] for name in same}.keys() == {name: plain.states[name] for name in same}.keys()
    assert "b" not in results.states or state.decode(results.states["b"]).events_offset < 0  # after its last event


async def test_a_request_of_somebody_unknown_changes_nothing_but_the_offset() -> None:
    shop = Shop()
    shop.append(Segment([request("nobody")], []))
    shop.say("a", "view_item", 0)
    await shop.settle()
    await shop.end()
    assert set(shop.results().states) == {"a"}


async def test_a_request_under_another_key_is_a_dead_letter_like_any_broken_record() -> None:
    shop = Shop()
    shop.say("a", "view_item", 0)
    shop.append(Segment([request("a", key=b"b")], []))
    await shop.settle()
    await shop.end()
    results = shop.results()
    assert set(results.states) == {"a"}
    assert [(reason, offset) for _, reason, offset in results.dead_letters] == [("missing_field", 1)]


async def test_labels_that_were_read_with_the_request_come_first() -> None:
    shop = Shop()
    shop.say("a", "view_item", 0)
    await shop.settle()
    shop.append(Segment([request("a")], [*STREAM[0].labels[:1]]))
    await shop.settle()
    await shop.end()
    assert "a" not in shop.results().states


# ---- whatever fails -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [LogError("the broker is away"), CrashError()], ids=["fails", "crashes"])
@pytest.mark.parametrize("point", POINTS)
async def test_a_failure_or_a_crash_at_any_point_of_the_log_changes_nothing_that_comes_out(
    point: str, error: Exception
) -> None:
    # Where labels meet the events after a crash is announced without transactions, and free with them: a request cuts
    # batches where they were not cut, so there the stream has no labels.
    asked = [Segment(segment.events, []) for segment in ASKED] if Shop.exactly_once else ASKED
    expected = await Shop().through(asked)
    for batch in (2, 3, 7, 11, 16):
        shop = Shop(rules=small_cache())

        def strike(number: int, shop: Shop = shop, batch: int = batch) -> None:
            if number == batch:
                shop.broker.fail[point].append(error)

        shop.at_batch = strike
        check_same(await shop.through(asked), expected)
        assert not shop.broker.fail[point]


@pytest.mark.parametrize("error", [LogError("the broker is away"), CrashError()], ids=["fails", "crashes"])
@pytest.mark.parametrize(
    ("point", "skipped"), [("publish", 0), ("changelog", 0), ("published", 0), ("commit", 0), ("commit", 1)]
)
async def test_a_failure_or_a_crash_within_the_request_is_mended_by_the_next_owner(
    point: str, skipped: int, error: Exception
) -> None:
    """The request stands alone, so that what is struck is its own step: the first or the second call of its kind."""

    shop = Shop()
    for visitor in "ab":
        shop.say(visitor, "view_item", 0, item_id="i1")
    await shop.settle()
    check = shop.partition.log._check  # type: ignore[attr-defined]
    calls = 0

    def struck(operation: str) -> None:
        nonlocal calls
        if operation == point:
            calls += 1
            if calls == 1 + skipped:
                raise error
        check(operation)

    shop.partition.log._check = struck  # type: ignore[attr-defined]
    shop.append(Segment([request("a")], []))
    await shop.settle()
    shop.say("b", "view_item", 1, item_id="i2")
    await shop.settle()
    await shop.end()
    results = shop.results()
    assert set(results.states) == {"b"}
    assert len(shop.broker.outputs["scores"]) == 3  # no output was repeated: all before the request had been committed


@pytest.mark.parametrize("error", [ViewError("Redis is away"), CrashError()], ids=["fails", "crashes"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_failure_or_a_crash_around_the_write_to_redis_is_mended(moment: str, error: Exception) -> None:
    view = StumblingView()
    shop = Shop(view=view)
    for visitor in "ab":
        shop.say(visitor, "view_item", 0, item_id="i1")
    await shop.settle()
    getattr(view, moment)["write"].append(error)
    shop.append(Segment([request("a")], []))
    await shop.settle()
    await shop.end()
    assert set(shop.results().states) == {"b"}


async def test_killed_at_any_moment_it_comes_to_the_same() -> None:
    shop = Shop(records_max=4)
    for segment in ASKED:
        shop.append(segment)
        for _ in range(6):
            target = shop.batches + 2
            await shop.until(lambda target=target: shop.batches >= target or shop.settled())  # type: ignore[misc]
            await shop.crash()
        await shop.settle()
    results = await shop.through([])
    whole = await Shop(records_max=4).through(ASKED)
    assert results.states.keys() == whole.states.keys()
    assert results.scores == whole.scores


async def test_a_stop_before_the_request_is_carried_out_leaves_it_to_the_next_owner() -> None:
    shop = Shop(records_max=1)
    shop.say("a", "view_item", 0)
    await shop.settle()
    shop.partition.stop()
    shop.append(Segment([request("a")], []))
    await shop.task
    assert set(latest(shop.broker.changelog)) == {"a"}
    shop.start()
    await shop.settle()
    await shop.end()
    assert shop.results().states == {}


async def test_while_redis_is_away_the_request_waits_for_it() -> None:
    shop = Shop()
    shop.say("a", "view_item", 0)
    await shop.settle()
    shop.view.down = True
    shop.append(Segment([request("a")], []))
    await asyncio.sleep(0.05)
    # A transaction has its offsets in it; without one they are committed when Redis has it all.
    assert shop.broker.commits[-1][0] == (2 if shop.exactly_once else 1)
    assert set(latest(shop.broker.changelog)) == set()
    shop.view.down = False
    await shop.settle()
    await shop.end()
    assert shop.results().states == {}


# ---- a former owner wakes up ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("later", [False, True], ids=["nothing since", "came back since"])
async def test_a_state_that_a_former_owner_writes_after_it_does_not_come_back_in_a_restore(later: bool) -> None:
    shop = Shop()
    shop.say("a", "view_item", 0, item_id="old")
    await shop.settle()
    held = shop.broker.changelog[-1]
    shop.append(Segment([request("a")], []))
    if later:
        shop.say("a", "view_item", 1, item_id="new")
    await shop.settle()
    shop.broker.changelog.append(held)
    shop.view.wipe()
    await shop.crash()
    await shop.until(lambda: shop.partition.state == "ready")
    await shop.settle()
    await shop.end()
    states = shop.results().states
    assert set(states) == ({"a"} if later else set())
    if later:
        assert list(state.decode(states["a"]).sessions[0].items) == ["new"]
