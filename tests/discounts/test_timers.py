"""Sessions that are looked at again: one timer each, in order, bounded."""

from __future__ import annotations

from stream_app.discounts.timers import Timers
from tests.discounts_app.moments import moment


def sessions(timers: Timers, now_ms: int, most: int = 100) -> list[str]:
    return [each.session_id for each in timers.due(now_ms, most)]


def test_timers_are_due_in_the_order_of_their_times_and_stay_until_they_are_cancelled() -> None:
    timers = Timers()
    for session, due_ms in (("c", 30), ("a", 10), ("b", 20)):
        timers.set(moment("v", session), due_ms)
    assert timers.next_ms() == 10
    assert sessions(timers, 9) == []
    assert sessions(timers, 25) == ["a", "b"]
    assert sessions(timers, 25, most=1) == ["a"]
    timers.cancel("v", "a")
    assert sessions(timers, 30) == ["b", "c"]


def test_a_newer_moment_of_a_session_takes_the_place_of_the_one_before() -> None:
    timers = Timers()
    timers.set(moment("v", "a", number=1), 10)
    timers.set(moment("v", "a", number=2), 20)
    assert sessions(timers, 15) == []
    (newest,) = timers.due(20, 100)
    assert newest.events == 2
    # Set to the same time again, it is due once.
    timers.set(moment("v", "a", number=3), 20)
    assert [each.events for each in timers.due(20, 100)] == [3]
    assert len(timers) == 1


def test_there_are_so_many_and_no_more() -> None:
    timers = Timers(most=2)
    for number in range(4):
        timers.set(moment("v", str(number)), number)
    assert (len(timers), timers.take_refused(), timers.take_refused()) == (2, 2, 0)
    # Those that are there may be set anew, as often as moments come.
    for due_ms in range(100):
        timers.set(moment("v", "0"), due_ms)
    assert sessions(timers, 1_000) == ["1", "0"]
    timers.cancel("v", "0")
    timers.set(moment("v", "9"), 5)
    assert sessions(timers, 1_000) == ["1", "9"]
