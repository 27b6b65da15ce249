"""How late it is: by the wall, or by the events of a shop whose time runs otherwise."""

from __future__ import annotations

from stream_app.discounts.clock import EventClock, WallClock
from tests.discounts_app.moments import moment


def test_on_the_wall_no_event_is_later_than_its_score() -> None:
    clock = WallClock(lambda: 1_000.0)
    assert clock.now_ms() == 1_000_000
    ahead = moment("v", "s", event_time=2_000_000, scored_at=999_000)
    assert clock.placed(ahead).event_time == 999_000
    usual = moment("v", "s", event_time=998_000, scored_at=999_000)
    assert clock.placed(usual) is usual


def test_by_the_events_it_is_as_late_as_the_newest_and_goes_on_from_there() -> None:
    wall = [50.0]
    clock = EventClock(lambda: wall[0])
    assert clock.now_ms() == 0
    assert clock.placed(moment("v", "s", event_time=7_000_000)).event_time == 7_000_000
    wall[0] += 2.0
    assert clock.now_ms() == 7_002_000
    clock.placed(moment("v", "t", event_time=7_001_000))
    assert clock.now_ms() == 7_002_000, "it never goes back"
    clock.placed(moment("v", "t", event_time=8_000_000))
    assert clock.now_ms() == 8_000_000
