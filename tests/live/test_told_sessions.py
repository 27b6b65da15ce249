"""Closed sessions and journeys as rows: what records tell is what a fold of the events themselves finds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stream_app.analytics.block import block_of
from stream_app.analytics.sessions import PATH_STEPS, Sessions
from stream_app.core.codec import decode_event
from stream_app.core.pages import GROUP_CODE
from stream_app.live.told_sessions import (
    LAST_OF_OUTCOME,
    ClosedTold,
    JourneyTold,
    closed_episodes,
    closed_rows,
    is_journey,
    journey_rows,
    read_closed,
    read_journey,
)
from tests.core.streams import MINUTE, T0, Partition, Record, crowd, event


def told(partition: Partition) -> tuple[list[ClosedTold], list[JourneyTold]]:
    """What the live page reads of a partition's records."""
    closed = [read_closed(json.dumps(record).encode()) for record in partition.closed]
    values = [json.dumps(record, separators=(",", ":")).encode() for record in partition.examples]
    found = [read_journey(value) for value in values if LAST_OF_OUTCOME in value]
    assert [one for one in map(read_journey, values) if is_journey(one)] == [one for one in found if is_journey(one)]
    return closed, [one for one in found if is_journey(one)]


def test_a_purchase_ends_a_journey_and_what_comes_after_it_is_another() -> None:
    partition = Partition()
    context = {"source": "mail", "country": "DE", "device": "phone"}
    partition.step(
        [
            event(0, "a", "view_item", 0, item_id="i", **context),
            event(1, "a", "page_view", 2, page_url="https://shop.example/search?q=x", **context),
            event(2, "a", "add_to_cart", 4, item_id="i", **context),
            event(3, "a", "purchase", 5, item_id="i", price=7.0, **context),
            event(4, "a", "view_item", 6, item_id="j", **context),
            *crowd(5, 90),
        ]
    )
    closed, journeys = told(partition)
    rows = journey_rows(journeys)
    assert rows.bought.tolist() == [True, False]
    assert rows.steps.tolist() == [3, 1]
    assert [{k: int(rows.kinds[n, c]) for k, c in GROUP_CODE.items() if rows.kinds[n, c]} for n in (0, 1)] == [
        {"item": 1, "search": 1, "cart": 1},
        {"item": 1},
    ]
    assert [(row & 15) - 1 for row in rows.path.tolist()] == [GROUP_CODE["item"], GROUP_CODE["item"]]
    assert (int(rows.path[0]) >> 8) - 1 == GROUP_CODE["cart"]
    # Up to the cart; the length is that of the visit, so the second begins with it, too.
    assert (rows.active_ms - rows.first_ms).tolist() == pytest.approx([4 * MINUTE, 6 * MINUTE], rel=1e-3)
    assert (rows.source.tolist(), rows.country.tolist(), rows.device.tolist()) == (
        ["mail"] * 2,
        ["DE"] * 2,
        ["mobile"] * 2,
    )
    (session,) = closed
    assert (session.bought, session.events, session.source) == (True, 5, "mail")
    episodes = closed_episodes(closed)
    assert (episodes.last_ms - episodes.viewed_ms).tolist() == [6 * MINUTE]
    assert closed_rows(closed).steps.tolist() == [5]


def test_a_correction_of_an_outcome_is_no_journey() -> None:
    journey = JourneyTold(T0, None, None)  # type: ignore[arg-type]
    assert is_journey(journey)
    journey.previous = 0
    assert not is_journey(journey)


def _history(sessions: int) -> list[Record]:
    """Visits of up to eight steps, one of each visitor, some with a purchase at their end."""
    random = np.random.default_rng(4)
    steps = ["page_view", "search", "view_item_list", "view_item", "add_to_cart", "like", "begin_checkout"]
    planned = []
    for n in range(sessions):
        minute = float(random.uniform(0, 600))
        chosen = [*random.choice(steps, random.integers(1, 9)), *(["purchase"] if random.random() < 0.3 else [])]
        for step in chosen:
            planned.append((minute, f"v{n}", str(step), ["ads", "mail", None][n % 3]))
            minute += float(random.exponential(2.0))
    planned.sort()
    records = [
        event(n, visitor, step, minute, item_id=f"i{n % 7}", **({"source": source} if source else {}))
        for n, (minute, visitor, step, source) in enumerate(planned)
    ]
    return [*records, *crowd(len(records), 1_000)]


def test_the_journeys_of_the_records_are_the_sessions_that_the_events_make() -> None:
    records, partition = _history(300), Partition()
    for start in range(0, len(records), 97):
        partition.step(records[start : start + 97])
    closed, journeys = told(partition)
    events = [decode_event(record.value, record_time_ms=record.timestamp) for record in records[:-3]]
    fold = Sessions(timeout_ms=30 * MINUTE)
    fold.feed(block_of(events, has_ids=True), watermark_ms=0)  # type: ignore[arg-type]
    expected = fold.close()
    assert expected is not None
    found = journey_rows(journeys)
    found = found.take(found.steps > 0)
    # Records of visits in the order of their beginning: two never begin in one millisecond here.
    found = found.take(np.argsort(found.first_ms))
    expected = expected.take(expected.steps > 0)
    expected = expected.take(np.argsort(expected.first_ms))
    assert len(found) == len(expected) == 300
    assert found.kinds.tolist() == expected.kinds.tolist()
    assert found.bought.tolist() == expected.bought.tolist()
    assert 50 < found.bought.sum() < 150
    assert found.source.tolist() == expected.source.tolist()
    assert np.abs(found.first_ms - expected.first_ms).max() < 0.01 * MINUTE
    for path, whole, steps in zip(found.path.tolist(), expected.path.tolist(), found.steps.tolist(), strict=True):
        end = 4 * (min(steps, PATH_STEPS) - 1)
        assert (path & 15, path >> end) == (whole & 15, whole >> end & 15)
    assert len(closed) == 300
    assert sum(one.bought for one in closed) == expected.bought.sum()
