"""Deadlines by time, blobs by use: both bounded."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.schedule import BlobCache, ExpirySchedule, rank


def test_a_visitor_is_due_from_its_deadline_on_and_not_before() -> None:
    schedule = ExpirySchedule()
    schedule.update({"a": 100})
    assert schedule.due(99, 10) == []
    assert schedule.due(100, 10) == ["a"]


def test_the_earliest_come_first_up_to_the_limit_and_asking_changes_nothing() -> None:
    schedule = ExpirySchedule()
    schedule.update({"c": 30, "a": 10, "b": 20})
    assert schedule.due(100, 2) == ["a", "b"]
    assert schedule.due(100, 2) == ["a", "b"]
    assert schedule.due(100, 9) == ["a", "b", "c"]


def test_a_moved_deadline_counts_and_the_old_one_does_not() -> None:
    schedule = ExpirySchedule()
    schedule.update({"a": 10, "b": 50})
    schedule.update({"a": 90})
    assert schedule.due(60, 10) == ["b"]
    schedule.update({"a": 10})  # back to where its old entry still lies
    assert schedule.due(60, 10) == ["a", "b"]


def test_a_forgotten_visitor_is_never_due() -> None:
    schedule = ExpirySchedule()
    schedule.update({"a": 10})
    schedule.update({"a": None, "never_known": None})
    assert schedule.due(100, 10) == []
    assert schedule.next_deadline() is None
    assert "a" not in schedule
    assert len(schedule) == 0


def test_a_replaced_schedule_forgets_everything_else() -> None:
    schedule = ExpirySchedule()
    schedule.update({"a": 10})
    schedule.replace({"b": 20})
    assert schedule.due(100, 10) == ["b"]
    assert schedule.get("a") is None
    assert schedule.next_deadline() == 20


def test_reschedules_do_not_pile_up() -> None:
    schedule = ExpirySchedule()
    for deadline in range(20_000):
        schedule.update({"a": deadline})
    assert len(schedule._heap) < 2_000
    assert schedule.due(19_999, 10) == ["a"]


CHANGES = st.dictionaries(st.sampled_from("abcdef"), st.none() | st.integers(0, 20), max_size=4)


@settings(max_examples=100, deadline=None)
@given(st.lists(CHANGES, max_size=12), st.integers(0, 20), st.integers(1, 6))
def test_due_equals_sorting_all_deadlines(changes: list[dict[str, int | None]], now: int, limit: int) -> None:
    schedule, plain = ExpirySchedule(), dict[str, int | None]()
    for change in changes:
        schedule.update(change)
        plain.update(change)
        known = sorted(
            (deadline, rank(visitor), visitor) for visitor, deadline in plain.items() if deadline is not None
        )
        assert schedule.due(now, limit) == [visitor for deadline, _, visitor in known if deadline <= now][:limit]
        assert schedule.next_deadline() == (known[0][0] if known else None)


def test_the_cache_drops_what_was_not_used_for_longest() -> None:
    cache = BlobCache(2)
    cache.put({"a": b"1", "b": b"2"})
    assert cache.get("a") == b"1"
    cache.put({"c": b"3"})
    assert cache.missing(["a", "b", "c"]) == ["b"]
    assert len(cache) == 2


def test_the_cache_remembers_that_a_visitor_has_no_blob() -> None:
    cache = BlobCache(2)
    cache.put({"a": None})
    assert cache.missing(["a"]) == []
    assert cache.get("a") is None


def test_a_cleared_cache_knows_nobody() -> None:
    cache = BlobCache(2)
    cache.put({"a": b"1"})
    cache.clear()
    assert cache.missing(["a"]) == ["a"]
