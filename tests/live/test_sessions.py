"""The sessions that are followed: bounded, in order, and never more of them than fit."""

from __future__ import annotations

import pytest

from stream_app.live import sessions as sessions_module
from stream_app.live.reading import read_score
from stream_app.live.sessions import SESSION_POINTS_MAX, LiveSessions
from stream_app.live.views import session_events, session_row
from tests.live.batches import score


def followed() -> LiveSessions:
    return LiveSessions(lambda visitor: visitor)


def add(sessions: LiveSessions, visitor: str, events: int, value: float, **more: object) -> None:
    sessions.add(read_score(score(visitor, events, value, **more)[1]), 0)


def test_past_the_bound_the_one_without_an_event_for_the_longest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "SESSIONS_MAX", 3)
    sessions = followed()
    for visitor in ("ann", "bob", "cid"):
        add(sessions, visitor, 1, 0.1)
    add(sessions, "ann", 2, 0.2)
    add(sessions, "dan", 1, 0.1)
    assert [session.name for session in sessions] == ["cid", "ann", "dan"]
    assert sessions.of_visitor("bob") is None
    assert sum(sessions.histogram) == 3


def test_past_the_bound_of_points_whole_sessions_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "POINTS_MAX", 10)
    sessions = followed()
    for visitor in ("ann", "bob", "cid"):
        for events in range(1, 5):
            add(sessions, visitor, events, 0.1)
    assert [session.name for session in sessions] == ["bob", "cid"]


def test_of_a_long_session_the_newest_points_stay_and_it_says_how_many_went() -> None:
    sessions = followed()
    for events in range(1, 1_001):
        add(sessions, "crawler", events, 0.1)
    session = sessions.of_visitor("crawler")
    assert session is not None
    assert len(session.points) <= SESSION_POINTS_MAX
    shown = session_events(session)
    assert shown["events_in_all"] == 1_000
    assert shown["not_shown"] == session.omitted == 1_000 - len(session.points)
    assert [event["number"] for event in shown["events"]] == list(range(1_001 - len(session.points), 1_001))


def test_ended_sessions_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "ENDED_MAX", 2)
    sessions = followed()
    for visitor in ("ann", "bob", "cid"):
        add(sessions, visitor, 1, 0.1)
        sessions.end(f"{visitor}/1")
    sessions.end("never seen")
    assert sessions.of_visitor("ann") is None
    assert sessions.of_visitor("cid") is not None
    assert len(sessions) == 0


def test_a_visitor_with_two_sessions_is_found_in_the_one_that_is_open() -> None:
    sessions = followed()
    add(sessions, "ann", 1, 0.1)
    add(sessions, "ann", 1, 0.3, session_id="ann/2")
    sessions.end("ann/1")
    found = sessions.of_visitor("ann")
    assert found is not None
    assert found.session_id == "ann/2"


@pytest.mark.parametrize(
    ("order", "expected"),
    [("score", ["cid", "bob", "ann"]), ("rise", ["ann", "cid", "bob"]), ("events", ["bob", "ann", "cid"])],
)
def test_orders(order: str, expected: list[str]) -> None:
    sessions = followed()
    add(sessions, "cid", 1, 0.9)
    for visitor, values in {"ann": [0.1, 0.3], "bob": [0.6, 0.5, 0.5]}.items():
        for events, value in enumerate(values, start=1):
            add(sessions, visitor, events, value)
    assert [session.name for session in sessions.top(order, band=None, limit=5)] == expected
    assert [session.name for session in sessions.top(order, band="on_the_fence", limit=5)] == ["ann"]
    assert len(sessions.top(order, band=None, limit=2)) == 2


def test_a_row_has_the_newest_score_and_an_event_says_by_how_much_it_moved_it() -> None:
    sessions = followed()
    add(sessions, "ann", 3, 0.5)
    add(sessions, "ann", 4, 0.2, reasons=[("cart", -0.7), ("pace", 0.1)])
    add(sessions, "ann", 6, 0.8)
    session = sessions.of_visitor("ann")
    assert session is not None
    row = session_row(session)
    assert (row["score"], row["band"], row["events"], row["curve"]) == (0.8, "likely", 6, [0.5, 0.2, 0.8])
    events = session_events(session)["events"]
    # Of the first what it was before is not known, nor of the last, as one between them was not seen.
    assert [event["change"] for event in events] == [None, pytest.approx(-0.3), None]
    assert [event["odds_factor"] for event in events] == [None, pytest.approx(0.25), None]
    assert [(r["id"], r["title"], r["odds"]) for r in events[1]["reasons"]] == [
        ("cart", "the cart", "×0.50"),
        ("pace", "the pace", "×1.1"),
    ]
