"""How far event time has come: with the broker's clock, or with a majority of the visitors; never with one of them."""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.watermark import MAJORITY, UNKNOWN, VISITORS_ASKED, Watermark

SECOND = 1_000
MINUTE = 60_000
HOUR = 60 * MINUTE
GRACE = MINUTE
#: Any instant: 2023-11-14T22:13:20Z.
T0 = 1_700_000_000_000


class Seen(NamedTuple):
    """An event: its own time and the broker's (ms from T0), and its visitor."""

    at: int
    received: int
    visitor: str


def live(at: int, visitor: str, *, delay: int = 200) -> Seen:
    """Arrives when it happens."""
    return Seen(at, at + delay, visitor)


def replayed(at: int, visitor: str) -> Seen:
    """Happened long ago, and 20,000 times as slowly."""
    return Seen(at, 1_000 * HOUR + at // 20_000, visitor)


def tell(watermark: Watermark, *events: Seen) -> int:
    """Observe them; the newest believed time after them, in ms from T0."""
    for at, received, visitor in events:
        watermark.observe(T0 + at, crc32(visitor.encode()), received=T0 + received, grace_ms=GRACE)
    return watermark.newest - T0


def started(make: object = live) -> Watermark:
    """A watermark that believes in T0, by a, b and c."""
    watermark = Watermark()
    assert callable(make)
    assert tell(watermark, *(make(0, visitor) for visitor in "abc")) == 0
    return watermark


# ---- the beginning --------------------------------------------------------------------------------------------------


def test_nothing_is_known_before_the_first_event() -> None:
    assert Watermark().time(grace_ms=MINUTE) == UNKNOWN


def test_the_first_time_is_believed_when_three_visitors_have_told_one() -> None:
    # Replayed a@0, a@+1m, b@+2m, c@+3m: c is the third visitor; all three have come to minute 1, a's last.
    watermark = Watermark()
    tell(watermark, replayed(0, "a"), replayed(MINUTE, "a"), replayed(2 * MINUTE, "b"))
    assert watermark.newest == UNKNOWN
    assert tell(watermark, replayed(3 * MINUTE, "c")) == MINUTE
    assert (MAJORITY, VISITORS_ASKED) == (3, 5)


def test_an_idle_partition_that_knows_no_time_stays_unknown() -> None:
    watermark = Watermark()
    watermark.advance(7_000)
    assert watermark.newest == UNKNOWN


def test_an_idle_partition_with_a_single_visitor_believes_its_times() -> None:
    # One visitor, one event at T0: nobody confirms it. Five minutes of silence later it is T0 + 5.
    watermark = Watermark()
    tell(watermark, live(0, "only"))
    assert watermark.time(grace_ms=0) == UNKNOWN
    watermark.advance(5 * MINUTE)
    assert watermark.time(grace_ms=0) == T0 + 5 * MINUTE + 200  # prompt: its time is the broker's
    assert tell(watermark, live(9 * MINUTE, "only")) == 9 * MINUTE


def test_an_idle_partition_with_two_visitors_believes_the_one_that_lags() -> None:
    watermark = Watermark()
    tell(watermark, replayed(9 * HOUR, "tomorrow"), replayed(0, "a"))
    watermark.advance(1)
    assert watermark.newest == T0 + 1


# ---- live: with the broker's clock ----------------------------------------------------------------------------------


def test_live_events_are_believed_at_once_however_few_the_visitors() -> None:
    # The only visitor left clicks every ten minutes.
    watermark = started()
    for n in range(1, 20):
        assert tell(watermark, live(n * 10 * MINUTE, "slow")) == n * 10 * MINUTE


def test_the_first_event_after_the_night_is_believed() -> None:
    assert tell(started(), live(8 * HOUR, "early bird")) == 8 * HOUR


def test_a_clock_that_is_wrong_moves_a_live_watermark_to_the_brokers_time_at_most() -> None:
    watermark = started()
    assert tell(watermark, Seen(9 * HOUR, 10 * SECOND, "tomorrow")) == 10 * SECOND
    assert tell(watermark, live(11 * SECOND, "a")) == 11 * SECOND


def test_a_bot_that_walks_ahead_in_small_steps_gets_nowhere() -> None:
    # Ten steps of a minute in each second, of one visitor, between the events of others.
    watermark = started()
    for n in range(1, 600):
        second = n * SECOND
        for step in range(10):
            tell(watermark, Seen((10 * n + step) * MINUTE, second, "bot"))
        assert watermark.newest == T0 + second
        tell(watermark, live(second, "abcdefgh"[n % 8]))


def test_bots_under_a_new_name_each_time_do_not_push_a_live_watermark_past_the_brokers_clock() -> None:
    watermark = started()
    for n in range(1, 2_000):
        tell(watermark, Seen(9 * HOUR + n * MINUTE, n * SECOND, f"bot {n}"))
        assert watermark.newest == T0 + n * SECOND


def test_a_backlog_of_late_events_moves_nothing_and_holds_nothing_up() -> None:
    watermark = started()
    for n in range(1, 100):
        tell(watermark, Seen(-3 * HOUR + n, n * SECOND, f"offline {n % 9}"))
        assert tell(watermark, live(n * SECOND, "a")) == n * SECOND


# ---- a replay: with the visitors ------------------------------------------------------------------------------------


def test_a_replay_is_believed_up_to_the_third_latest_visitor() -> None:
    # d@+40m, e@+50m, f@+60m: the third of them has not come further than minute 40.
    watermark = started(replayed)
    assert tell(watermark, replayed(40 * MINUTE, "d"), replayed(50 * MINUTE, "e")) == 0
    assert tell(watermark, replayed(HOUR, "f")) == 40 * MINUTE


def test_one_visitor_never_moves_a_replay_whatever_its_steps_and_however_often_it_comes() -> None:
    for step in (SECOND, 10 * MINUTE, 29 * MINUTE, 9 * HOUR):
        watermark = started(replayed)
        for n in range(200):
            tell(watermark, replayed(n * step, "bot"))
        assert watermark.newest == T0


def test_a_bot_with_half_of_the_traffic_does_not_move_a_replay_past_the_others() -> None:
    watermark = started(replayed)
    for n in range(1, 500):
        tell(watermark, replayed(n * 20 * MINUTE, "bot"), replayed(n * SECOND, "abcdefghij"[n % 10]))
        assert (n - 5) * SECOND <= watermark.newest - T0 <= n * SECOND


def test_two_wrong_clocks_among_five_visitors_are_not_believed() -> None:
    watermark = started(replayed)
    for n in range(1, 100):
        tell(watermark, replayed(9 * HOUR, "x"), replayed(9 * HOUR + n, "y"), replayed(n, "abc"[n % 3]))
        assert watermark.newest - T0 <= n


def test_a_wrong_clock_is_forgotten_when_five_other_visitors_have_come() -> None:
    watermark = started(replayed)
    tell(watermark, replayed(9 * HOUR, "x"), replayed(9 * HOUR, "y"))
    assert tell(watermark, *(replayed(n, visitor) for n, visitor in enumerate("defgh"))) < 10
    assert tell(watermark, replayed(9 * HOUR, "z")) < 10


def test_two_visitors_who_live_in_the_present_do_not_end_a_replay_and_three_do() -> None:
    watermark = started(replayed)
    now = 1_000 * HOUR + MINUTE
    assert tell(watermark, live(now, "x"), live(now + 1, "y")) == 0
    assert tell(watermark, live(now + HOUR, "z")) == now + HOUR
    assert tell(watermark, live(now + 2 * HOUR, "z")) == now + 2 * HOUR


def test_the_same_events_give_the_same_times_at_any_speed() -> None:
    fast, slow = started(replayed), started(replayed)
    for n in range(100):
        event = replayed(n * MINUTE, "abcdefg"[n % 7])
        assert tell(fast, event) == tell(slow, event._replace(received=event.received + n * HOUR))


# ---- always ---------------------------------------------------------------------------------------------------------


def test_the_watermark_trails_the_newest_event_by_the_grace() -> None:
    watermark = started()
    tell(watermark, live(5_000, "a"))
    assert watermark.time(grace_ms=MINUTE) == T0 + 5_000 - MINUTE


def test_a_late_event_moves_nothing() -> None:
    watermark = started()
    tell(watermark, Seen(-20 * HOUR, SECOND, "a"))
    assert watermark.newest == T0


def test_an_idle_partition_moves_with_the_wall_clock() -> None:
    watermark = started()
    watermark.advance(7_000)
    watermark.advance(0)
    watermark.advance(-5)
    assert watermark.newest == T0 + 7_000


def test_a_copy_goes_on_by_itself() -> None:
    first = started()
    before = msgspec.json.encode(first)
    tell(first.copy(), live(5 * MINUTE, "new"))
    assert msgspec.json.encode(first) == before


EVENTS = st.lists(
    st.builds(Seen, st.integers(-3 * HOUR, 3 * HOUR), st.integers(0, 3 * HOUR), st.sampled_from("abcdefgh")),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.integers(0, 40), st.integers(-1, HOUR))
def test_a_watermark_never_falls_and_goes_on_the_same_after_being_stored(
    events: list[Seen], cut: int, idle: int
) -> None:
    watermark, stored = Watermark(), Watermark()
    newest = UNKNOWN
    for n, event in enumerate(events):
        if n == cut:
            watermark.advance(idle)
            stored.advance(idle)
            stored = msgspec.json.decode(msgspec.json.encode(stored), type=Watermark)
        for one in (watermark, stored):
            tell(one, event)
        assert watermark.newest >= newest
        assert len(watermark.recent) <= VISITORS_ASKED
        newest = watermark.newest
    assert stored == watermark
    assert list(stored.recent) == list(watermark.recent)


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.integers(1, 30), st.integers(0, 40))
def test_however_many_events_one_visitor_adds_to_a_replay_time_stays_where_the_others_have_come(
    events: list[Seen], step_minutes: int, at: int
) -> None:
    # All of it within one moment of the broker's clock, which therefore says nothing.
    watermark = started(replayed)
    others = 0
    for n, event in enumerate(events):
        if n == at:
            tell(watermark, *(replayed(0, "one")._replace(at=step * step_minutes * MINUTE) for step in range(50)))
        tell(watermark, event._replace(received=1_000 * HOUR))
        others = max(others, event.at)
        assert watermark.newest - T0 <= others


@settings(max_examples=150, deadline=None)
@given(EVENTS)
def test_event_time_never_passes_the_brokers_clock_whatever_visitors_say(events: list[Seen]) -> None:
    watermark = started()
    received = 200
    for event in events:
        tell(watermark, event)
        received = max(received, event.received)
        assert watermark.newest <= T0 + received
