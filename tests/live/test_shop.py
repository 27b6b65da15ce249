"""The aggregate: what it counts without a viewer, what it reads for one, and that neither grows without a bound."""

from __future__ import annotations

import pytest

from stream_app.core.native import native
from stream_app.live import shop as shop_module
from stream_app.live.sessions import BOUNDS
from stream_app.live.shop import LINGER_S, UNREAD_MAX, LiveShop
from tests.live.batches import MINUTE, T0, batch, closed, example, score, shop
from tests.native.built import needs_native

ALL = 1e9


def read(live: LiveShop, now: float = 0.0) -> None:
    live.look(now)
    assert live.catch_up(ALL, now=now) > 0


def scores_of(live: LiveShop) -> dict[str, float]:
    return {session.name: session.last.score for session in live.sessions}


def test_without_a_viewer_batches_are_counted_and_no_record_is_read() -> None:
    live = shop()
    effects = batch([], open_visitors=3)
    effects.scores = [(b"a", b"not a record"), (b"b", b"neither")]
    effects.bands.update({"likely": 2})
    effects.events.update({("view_item", "scored"): 2, ("view_item", "duplicate"): 1, ("unknown", "not_json"): 4})
    effects.labels.update({"matched": 1})
    effects.sessions_opened, effects.sessions_closed = 2, 1
    live.take(effects, 0, now=10.2)
    live.take(batch([], open_visitors=5), 2, now=10.9)
    stats = live.stats(now=11.0)
    assert stats["events"] == {
        "scored": 2,
        "per_second": 2.0,
        "per_second_history": [2],
        "by_outcome": {"scored": 2, "duplicate": 1},
        "rejected": {"not_json": 4},
        "rejected_per_second": 4.0,
    }
    assert stats["bands"] == {"unlikely": 0, "on_the_fence": 0, "likely": 2}
    assert stats["labels"] == {"matched": 1}
    sessions = stats["sessions"]
    assert (sessions["open_visitors"], sessions["opened"], sessions["closed"]) == (8, 2, 1)
    assert (sessions["followed"], sessions["unread"]) == (0, 2)
    assert not live.watched(11.0)


def test_who_opens_the_page_sees_what_was_scored_shortly_before() -> None:
    live = shop()
    live.take(batch([score("ann", 1, 0.02), score("bob", 1, 0.5)]), 0, now=0.0)
    live.take(batch([score("ann", 2, 0.3)]), 0, now=1.0)
    assert scores_of(live) == {}
    read(live, 2.0)
    assert scores_of(live) == {"ann": 0.3, "bob": 0.5}
    ann = live.find("ann")
    assert ann is not None
    assert [(p.events, p.score, p.band) for p in ann.points] == [(1, 0.02, "unlikely"), (2, 0.3, "on_the_fence")]


def test_a_session_that_is_closed_is_no_longer_open_and_still_found() -> None:
    live = shop()
    live.take(batch([score("ann", 1, 0.02), score("bob", 1, 0.5)], closed=[closed("ann")]), 0, now=0.0)
    read(live)
    assert scores_of(live) == {"bob": 0.5}
    ann = live.find("ann")
    assert ann is not None
    assert not live.sessions.is_open(ann)
    assert sum(live.sessions.histogram) == 1


def test_the_histogram_counts_the_newest_score_of_each_open_session() -> None:
    live = shop()
    live.take(batch([score("ann", 1, 0.004), score("bob", 1, 0.005), score("cid", 1, 0.99)]), 0, now=0.0)
    live.take(batch([score("ann", 2, 0.35)]), 0, now=0.0)
    read(live)
    expected = [0] * (len(BOUNDS) + 1)
    expected[1] = expected[BOUNDS.index(0.4)] = expected[-1] = 1
    assert live.sessions.histogram == expected


def test_a_batch_that_is_told_twice_changes_nothing_the_second_time() -> None:
    live = shop()
    effects = batch([score("ann", 1, 0.1), score("ann", 2, 0.2, "purchase")])
    live.take(effects, 0, now=0.0)
    live.take(effects, 0, now=0.1)
    read(live)
    ann = live.find("ann")
    assert ann is not None
    assert [point.events for point in ann.points] == [1, 2]
    assert live.checkouts.seen == 1


def test_reading_stops_at_its_budget_and_goes_on_where_it_stopped() -> None:
    live = shop()
    live.take(batch([score(f"v{n}", 1, 0.1) for n in range(10)]), 0, now=0.0)
    live.look(0.0)
    assert live.catch_up(4, now=0.0) == 0
    assert len(live.sessions) == 4
    assert live.stats(now=0.0)["sessions"]["unread"] == 6
    assert live.catch_up(100, now=0.0) == 94
    assert len(live.sessions) == 10


def test_unread_records_are_bounded_and_the_newest_stay() -> None:
    live = shop()
    for n in range(UNREAD_MAX // 100 + 50):
        live.take(batch([score(f"v{n}", e + 1, 0.1) for e in range(100)]), 0, now=float(n))
        # A batch that only closes something counts, too: they come by the clock alone.
        live.take(batch([], closed=[closed("nobody")]), 0, now=float(n))
    unread = live.stats(now=0.0)["sessions"]["unread"]
    assert UNREAD_MAX - 100 <= unread <= UNREAD_MAX
    live.look(300.0)
    while not live.catch_up(ALL, now=300.0):
        pass
    assert live.find("v0") is None
    assert live.find(f"v{UNREAD_MAX // 100 + 49}") is not None
    for n in range(2 * UNREAD_MAX):
        live.take(batch([], closed=[closed("nobody")]), 0, now=float(n))
    assert len(live._unread) <= shop_module.UNREAD_WATCHED_MAX


def test_a_crowd_is_sampled_by_visitor_and_each_visitor_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop_module, "CROWD", 500)
    live = shop()
    live.look(0.0)
    first = [score(f"v{n}", 1, 0.1) for n in range(400)]
    live.take(batch(first), 0, now=0.0)
    assert live.catch_up(ALL, now=0.0) > 0
    assert len(live.sessions) == 400
    live.take(batch([score(f"v{n % 400}", 2 + n // 400, 0.2) for n in range(800)]), 0, now=5.0)
    live.catch_up(ALL, now=5.0)
    assert live.one_in == 2
    followed = scores_of(live)
    assert 120 < len(followed) < 280
    assert all([p.events for p in session.points] == [1, 2, 3] for session in live.sessions)
    # Once it has been calm for long enough all are followed again.
    live.look(30.0)
    live.take(batch(first[:1]), 0, now=30.0)
    live.catch_up(ALL, now=30.0)
    assert live.one_in == 1


def test_what_cannot_be_read_in_time_is_passed_over_counted_and_ends_sessions_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shop_module, "UNREAD_WATCHED_MAX", 10)
    live = shop()
    live.take(batch([score("ann", 1, 0.1)]), 0, now=0.0)
    read(live)
    live.take(batch([score(f"v{n}", 1, 0.1) for n in range(8)], closed=[closed("ann")]), 0, now=1.0)
    live.take(batch([score(f"w{n}", 1, 0.1) for n in range(8)]), 0, now=1.0)
    assert live.passed_over == 8
    assert scores_of(live) == {}


def test_partitions_that_were_given_back_are_forgotten_and_the_counts_since_the_start_are_not() -> None:
    live = shop()
    live.take(batch([score("ann", 1, 0.1)], open_visitors=7), 0, now=0.0)
    live.take(batch([score("bob", 1, 0.2)], open_visitors=9), 1, now=0.0)
    read(live)
    live.take(batch([score("ann", 2, 0.3)], open_visitors=7), 0, now=0.0)
    live.own({1})
    read(live)
    assert scores_of(live) == {"bob": 0.2}
    stats = live.stats(now=0.0)
    assert (stats["sessions"]["open_visitors"], stats["events"]["scored"]) == (9, 3)


def test_after_the_last_viewer_has_left_for_a_minute_the_sessions_are_forgotten() -> None:
    live = shop()
    live.take(batch([score("ann", 1, 0.1)]), 0, now=0.0)
    read(live, 0.0)
    assert live.watched(LINGER_S)
    assert scores_of(live) == {"ann": 0.1}
    assert not live.watched(LINGER_S + 0.1)
    assert scores_of(live) == {}
    # Examples of label checkouts are large, and kept only while somebody looks.
    told = example("ann", 1, label=1, source="label", label_time=T0 + MINUTE)
    live.take(batch([], examples=[told] * 5), 0, now=LINGER_S + 1)
    assert not live._unread


def test_a_checkout_event_shows_the_score_that_the_visitor_had_before_it() -> None:
    live = shop()
    live.take(
        batch([
            score("ann", 1, 0.02), score("ann", 2, 0.6, "add_to_cart"), score("ann", 3, 0.04, "purchase"),
            # a second row of the same order
            score("ann", 4, 0.03, "purchase"),
            score("bob", 7, 0.5, "purchase"),
        ]), 0, now=0.0,
    )  # fmt: skip
    read(live)
    bob, ann = live.checkouts.newest(5)
    assert (ann.name, ann.source, ann.time, ann.way) == ("ann", "purchase", T0 + 3 * MINUTE, [0.02, 0.6])
    assert ann.before is not None
    assert (ann.before.events, ann.before.score) == (2, 0.6)
    # What came before bob's seventh event was not seen here.
    assert (bob.name, bob.before, bob.way) == ("bob", None, [])
    assert live.checkouts.seen == 2


def test_a_second_order_of_a_session_begins_anew() -> None:
    live = shop()
    steps = [(1, 0.5, "view_item"), (2, 0.1, "purchase"), (3, 0.2, "view_item"), (4, 0.1, "purchase")]
    live.take(batch([score("ann", n, value, kind) for n, value, kind in steps]), 0, now=0.0)
    read(live)
    assert [checkout.way for checkout in live.checkouts.newest(5)] == [[0.2], [0.5]]


def test_a_checkout_told_by_the_order_system_counts_once_with_the_score_at_its_time() -> None:
    live = shop()
    live.look(0.0)
    live.take(batch([score("ann", n, 0.1 * n) for n in (1, 2, 3)]), 0, now=0.0)
    at = T0 + 2 * MINUTE + 1
    told = [example("ann", n, label=1, source="label", label_time=at, left=2 - n) for n in (1, 2)]
    others = [
        example("ann", 1, label=0, source="session_end", label_time=at),
        example("ann", 1, label=1, source="purchase", label_time=at),
        example("eve", 1, label=1, source="label", label_time=at),
    ]
    live.take(batch([], examples=[*others, *told]), 0, now=0.0)
    live.take(batch([], examples=told), 0, now=0.0)
    read(live)
    (checkout,) = live.checkouts.newest(5)
    assert (checkout.name, checkout.source, checkout.time) == ("ann", "label", at)
    assert checkout.before is not None
    assert checkout.before.events == 2


def test_a_checkout_told_by_the_shop_and_by_the_order_system_is_one() -> None:
    live = shop()
    live.look(0.0)
    bought = batch(
        [score("ann", 1, 0.3), score("ann", 2, 0.1, "purchase")],
        examples=[example("ann", 1, label=1, source="label", label_time=T0 + 2 * MINUTE, left=0)],
    )
    live.take(bought, 0, now=0.0)
    read(live)
    (checkout,) = live.checkouts.newest(5)
    assert (checkout.source, checkout.way, live.checkouts.seen) == ("purchase", [0.3], 1)


@needs_native
def test_records_of_the_compiled_engine_are_read_like_any_other() -> None:
    live = shop()
    effects = batch([score("ann", 1, 0.02), score("ann", 2, 0.3)])
    effects.scores = native.RecordList.of(effects.scores)
    effects.closed = native.RecordList.of([closed("bob")])
    live.take(effects, 0, now=0.0)
    read(live)
    assert scores_of(live) == {"ann": 0.3}


def test_names_are_hashes_that_another_key_would_make_otherwise_unless_ids_are_shown() -> None:
    hashed, shown = shop(show_ids=False), shop(show_ids=True)
    assert shown.names.name("ann") == "ann"
    name = hashed.names.name("ann")
    assert hashed.names.is_name(name)
    assert len(name) == 10
    assert "ann" not in name
    other = type(hashed.names)(b"another key", show_ids=False)
    assert other.name("ann") != name
    assert not hashed.names.is_name("ann")
    assert not hashed.names.is_name(name.upper() + "!")
