"""How far event time has come: pushed by many, spoiled by none."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.watermark import CONFIRMATIONS, UNKNOWN, Watermark

MINUTE = 60_000
GAP = 30 * MINUTE
#: Any instant: 2023-11-14T22:13:20Z.
T0 = 1_700_000_000_000


def started() -> Watermark:
    """A watermark that believes in T0."""
    watermark = Watermark()
    for visitor in ("a", "b", "c"):
        watermark.observe(T0, visitor, gap_ms=GAP)
    assert watermark.newest == T0
    return watermark


def test_nothing_is_known_before_the_first_event() -> None:
    assert Watermark().time(grace_ms=MINUTE) == UNKNOWN


def test_the_first_time_is_believed_after_three_events_of_two_visitors() -> None:
    # a@0, a@+1m, b@+2m: the earliest of the three is where it starts.
    watermark = Watermark()
    watermark.observe(T0, "a", gap_ms=GAP)
    watermark.observe(T0 + MINUTE, "a", gap_ms=GAP)
    assert watermark.newest == UNKNOWN
    watermark.observe(T0 + 2 * MINUTE, "b", gap_ms=GAP)
    assert watermark.newest == T0
    assert CONFIRMATIONS == 3


def test_the_watermark_trails_the_newest_event_by_the_grace() -> None:
    watermark = started()
    watermark.observe(T0 + 5_000, "a", gap_ms=GAP)
    assert watermark.time(grace_ms=MINUTE) == T0 + 5_000 - MINUTE


def test_a_late_event_moves_nothing() -> None:
    watermark = started()
    watermark.observe(T0 - 10 * GAP, "a", gap_ms=GAP)
    assert watermark == started()


def test_one_visitor_beyond_the_gap_is_never_believed_however_often_it_comes() -> None:
    watermark = started()
    for n in range(50):
        watermark.observe(T0 + GAP + 1 + n, "tomorrow", gap_ms=GAP)
    assert watermark.newest == T0


def test_two_bad_clocks_among_good_ones_are_not_believed() -> None:
    # x+9h  a+1s  y+9h  b+2s  x+9h  …: each event of the present clears the suspicion.
    watermark = started()
    for n in range(1, 20):
        watermark.observe(T0 + 9 * 3600_000, "xy"[n % 2], gap_ms=GAP)
        watermark.observe(T0 + n * 1000, "ab"[n % 2], gap_ms=GAP)
    assert watermark.newest == T0 + 19_000


def test_three_in_a_row_by_two_visitors_are_believed_up_to_the_earliest() -> None:
    # The shop was shut for the night: +8h05, +8h00, +8h10.
    watermark = started()
    morning = T0 + 8 * 3600_000
    watermark.observe(morning + 5 * MINUTE, "a", gap_ms=GAP)
    watermark.observe(morning, "b", gap_ms=GAP)
    assert watermark.newest == T0
    watermark.observe(morning + 10 * MINUTE, "a", gap_ms=GAP)
    assert watermark.newest == morning
    watermark.observe(morning + 11 * MINUTE, "c", gap_ms=GAP)
    assert watermark.newest == morning + 11 * MINUTE


def test_a_late_event_between_them_does_not_clear_the_suspicion() -> None:
    watermark = started()
    morning = T0 + 8 * 3600_000
    for visitor in ("a", "b", "c"):
        watermark.observe(T0 - 2 * GAP, "phone that was offline", gap_ms=GAP)
        watermark.observe(morning, visitor, gap_ms=GAP)
    assert watermark.newest == morning


def test_an_event_exactly_a_gap_ahead_is_believed_at_once() -> None:
    watermark = started()
    watermark.observe(T0 + GAP, "a", gap_ms=GAP)
    assert watermark.newest == T0 + GAP


def test_an_idle_partition_moves_with_the_wall_clock() -> None:
    watermark = started()
    watermark.advance(7_000)
    watermark.advance(0)
    watermark.advance(-5)
    assert watermark.newest == T0 + 7_000


def test_an_idle_partition_that_knows_no_time_stays_unknown() -> None:
    watermark = Watermark()
    watermark.advance(7_000)
    assert watermark.newest == UNKNOWN


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-3 * GAP, 3 * GAP), st.sampled_from("abc")), max_size=40), st.integers(0, 40))
def test_a_watermark_never_falls_and_goes_on_the_same_after_being_stored(
    events: list[tuple[int, str]], cut: int
) -> None:
    watermark, stored = Watermark(), Watermark()
    newest = UNKNOWN
    for n, (offset, visitor) in enumerate(events):
        if n == cut:
            stored = msgspec.json.decode(msgspec.json.encode(stored), type=Watermark)
        for one in (watermark, stored):
            one.observe(T0 + offset, visitor, gap_ms=GAP)
        assert watermark.newest >= newest
        newest = watermark.newest
    assert stored == watermark


def test_an_idle_partition_with_a_single_visitor_believes_its_times() -> None:
    # One visitor, one event at 10:00: nobody confirms it. Five minutes of silence later it is 10:05.
    watermark = Watermark()
    watermark.observe(36_000_000, "only", gap_ms=1_800_000)
    assert watermark.time(grace_ms=0) == UNKNOWN
    watermark.advance(300_000)
    assert watermark.time(grace_ms=0) == 36_300_000
