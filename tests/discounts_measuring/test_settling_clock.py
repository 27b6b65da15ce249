"""The clock by which outcomes mature: as far as everything is read, and never further than the events."""

from __future__ import annotations

from stream_app.discounts.orders import EventTime
from stream_app.discounts.settling_clock import SettlingClock

NOW = 1_760_000_000_000
GRACE = 60_000


def seen(clock: SettlingClock, partition: int, time: int, *, received: int) -> None:
    """Five visitors of a time: enough to be believed."""
    for visitor in range(5):
        clock.observe(partition, EventTime(time, f"v{visitor}"), received=received)


def test_while_partitions_are_unread_the_one_furthest_behind_counts_and_then_the_newest_event() -> None:
    clock = SettlingClock(grace_ms=GRACE)
    assert clock.time(unread=[]) is None
    seen(clock, 0, NOW, received=NOW)
    seen(clock, 1, NOW - 5_000_000, received=NOW)
    assert clock.time(unread=[0, 1]) == NOW - 5_000_000
    assert clock.time(unread=[0]) == NOW
    assert clock.time(unread=[0, 2]) is None
    assert clock.time(unread=[]) == NOW


def test_a_phone_that_lives_in_tomorrow_moves_nothing() -> None:
    clock = SettlingClock(grace_ms=GRACE)
    seen(clock, 0, NOW, received=NOW)
    clock.observe(0, EventTime(NOW + 3_600_000, "phone"), received=NOW + 1)
    assert clock.time(unread=[]) == NOW + 1


def test_a_replay_is_told_by_its_own_events_and_flows_on_when_nothing_comes() -> None:
    clock = SettlingClock(grace_ms=GRACE)
    last_year = NOW - 365 * 86_400_000
    seen(clock, 0, last_year, received=NOW)
    assert clock.time(unread=[]) == last_year
    clock.idle(2_000)
    assert clock.time(unread=[]) == last_year + 2_000
