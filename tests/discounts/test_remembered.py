"""What a partition's owner remembers of sessions and visitors, what it forgets, and what it refuses for that."""

from __future__ import annotations

import math

from stream_app.discounts.core.records import Exposure, Moment
from stream_app.discounts.remembered import SESSION_MS_MAX, Remembered
from tests.discounts.core.exposures import exposure as usual
from tests.discounts_app.moments import moment

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


def exposed(visitor: str, session: str, decided_at: int) -> Exposure:
    return usual(visitor_id=visitor, session_id=session, decided_at=decided_at)


def seen(visitor: str, session: str, *, age_s: float = 30.0, at: int = NOW_MS) -> Moment:
    return moment(visitor, session, event_time=at, features={"age": math.log1p(age_s)})


def test_a_session_is_decided_once_it_was_and_no_other_of_its_visitor() -> None:
    remembered = Remembered(since_ms=0)
    remembered.decide(exposed("v", "s", NOW_MS))
    assert remembered.decided(seen("v", "s"))
    assert not remembered.decided(seen("v", "t"))
    assert not remembered.decided(seen("vs", ""))
    assert remembered.exposed_at("v") == NOW_MS
    assert remembered.exposed_at("w") is None


def test_a_session_that_is_over_stays_so() -> None:
    remembered = Remembered(since_ms=0)
    remembered.end("v", "s", NOW_MS)
    assert remembered.over(seen("v", "s"))
    assert not remembered.over(seen("v", "t"))


def test_sessions_that_may_have_begun_before_what_is_known_count_as_decided() -> None:
    remembered = Remembered(since_ms=NOW_MS - HOUR_MS)
    assert not remembered.decided(seen("v", "s", age_s=3_590.0))
    assert remembered.decided(seen("v", "s", age_s=3_601.0))
    # Without an age it may be as old as a session gets.
    assert remembered.decided(moment("v", "s", event_time=NOW_MS, features={}))


def test_what_there_is_no_room_for_is_refused_from_then_on() -> None:
    remembered = Remembered(since_ms=0, sessions_max=2)
    for number in range(3):
        remembered.decide(exposed(f"v{number}", "s", NOW_MS + number))
    assert remembered.sizes[0] == 2
    assert remembered.since_ms == NOW_MS + 1
    # Forgotten, and not decided again: it began before.
    assert remembered.decided(seen("v0", "s", at=NOW_MS + 10_000, age_s=10.5))
    assert not remembered.decided(seen("new", "s", at=NOW_MS + 10_000, age_s=5.0))


def test_visitors_beyond_the_bound_lose_their_cool_down_and_are_counted() -> None:
    remembered = Remembered(since_ms=0, visitors_max=1)
    remembered.decide(exposed("v", "s", NOW_MS))
    remembered.decide(exposed("w", "s", NOW_MS))
    assert (remembered.exposed_at("v"), remembered.exposed_at("w")) == (None, NOW_MS)
    assert (remembered.take_crowded_out(), remembered.take_crowded_out()) == (1, 0)


def test_what_is_forgotten_in_time_lies_before_every_session_that_may_go_on() -> None:
    remembered = Remembered(since_ms=0)
    remembered.decide(exposed("v", "s", NOW_MS))
    remembered.forget(NOW_MS + 2 * SESSION_MS_MAX - 1, visitors_ms=HOUR_MS)
    assert remembered.decided(seen("v", "s"))
    assert remembered.exposed_at("v") is None
    remembered.forget(NOW_MS + 2 * SESSION_MS_MAX + 1, visitors_ms=HOUR_MS)
    assert remembered.sizes == (0, 0, 0)
    longest = seen("v", "s", at=NOW_MS + SESSION_MS_MAX, age_s=SESSION_MS_MAX / 1000)
    assert remembered.decided(longest)


def test_a_visitor_exposed_again_is_forgotten_after_the_last_time() -> None:
    remembered = Remembered(since_ms=0)
    remembered.decide(exposed("v", "s", NOW_MS))
    remembered.decide(exposed("w", "s", NOW_MS + 1))
    remembered.decide(exposed("v", "t", NOW_MS + 2))
    # Read back out of order: an older exposure takes nothing back.
    remembered.decide(exposed("v", "u", NOW_MS - 5))
    remembered.forget(NOW_MS + HOUR_MS + 2, visitors_ms=HOUR_MS)
    assert (remembered.exposed_at("v"), remembered.exposed_at("w")) == (NOW_MS + 2, None)
