"""Events in the order of their times, each once; late ones counted; nobody's wrong clock moves the watermark."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_app.analytics.block import Block
from stream_app.analytics.time_order import TimeOrder
from stream_app.core.events import Event
from tests.analytics.small import MINUTE, T0, block, blocks, event, histories, unhurried


def released(parts: list[Block], order: TimeOrder) -> list[tuple[int, str]]:
    """Time and visitor of all that comes out, in order."""
    found = [order.feed(part) for part in parts]
    rest = order.close()
    whole = Block.concat([*found, *([rest] if rest is not None else [])])
    return list(zip(whole.time_ms.tolist(), whole.visitor.tolist(), strict=True))


def views(*minutes: float, visitor: str = "v") -> list[Event]:
    return [event(f"{visitor}{n}", "x", "view", minute) for n, minute in enumerate(minutes)]


def test_what_is_out_of_order_by_no_more_than_the_lateness_comes_out_in_order() -> None:
    order = TimeOrder(lateness_ms=2 * MINUTE)
    out = released(blocks(views(0, 1, 3, 2, 5, 3, 6), [1, 2, 3, 4, 5, 6]), order)
    assert [(time - T0) / MINUTE for time, _ in out] == [0, 1, 2, 3, 3, 5, 6]
    assert order.late == 0


# The majority of the latest five has come to minute 10, less 1 of lateness: what comes for minute 2 is late.
def test_what_comes_after_the_watermark_is_late_and_counted() -> None:
    order = TimeOrder(lateness_ms=MINUTE)
    out = released([block(views(9, 10, 10, 11)), block(views(2, 12, visitor="w"))], order)
    assert ([(time - T0) / MINUTE for time, _ in out], order.late) == ([9, 10, 10, 11, 12], 1)


def test_two_visitors_with_clocks_of_next_year_make_nobody_late() -> None:
    order = TimeOrder(lateness_ms=MINUTE)
    wrong = [event("p", "x", "view", 500_000), event("q", "x", "view", 500_000)]
    out = released(blocks([*views(0, 1, 2), *wrong, *views(3, 4, 5, visitor="w")], [3, 4, 5, 6, 7]), order)
    assert (order.late, len(out)) == (0, 8)


def test_a_copy_of_an_event_counts_once_also_when_it_comes_in_a_later_block() -> None:
    order = TimeOrder(lateness_ms=10 * MINUTE)
    out = released([block(views(0, 1, 2)), block(views(0, 1, 2)[1:] + views(3, visitor="w"))], order)
    assert (len(out), order.duplicates, order.released) == (4, 2, 4)


def test_copies_of_one_time_are_known_without_any_lateness() -> None:
    order = TimeOrder(lateness_ms=0)
    same = views(5, 5, 5)
    assert len(released([block(same), block(same)], order)) == 3


def test_past_the_bound_the_oldest_are_let_go_and_counted() -> None:
    order = TimeOrder(lateness_ms=1000 * MINUTE, held_max=2)
    out = order.feed(block(views(0, 1, 2, 3, 4)))
    assert ([(time - T0) / MINUTE for time in out.time_ms.tolist()], len(order), order.hurried) == ([0, 1, 2], 2, 3)


@unhurried
@given(histories(), st.integers(0, 2**32 - 1))
def test_disorder_within_the_lateness_changes_nothing(history: tuple[list[Event], list[int]], seed: int) -> None:
    events, cuts = history
    random = np.random.default_rng(seed)
    arrival = sorted(events, key=lambda e: int(e.event_time) + int(random.integers(0, 5 * MINUTE)))  # type: ignore[arg-type]
    order = TimeOrder(lateness_ms=5 * MINUTE)
    out = released(blocks(arrival, cuts), order)
    assert order.late == 0
    expected = sorted({(e.event_time, e.visitor_id, e.event_id) for e in events})
    assert sorted(out) == [(time, visitor) for time, visitor, _ in expected]
    assert [time for time, _ in out] == sorted(time for time, _ in out)
