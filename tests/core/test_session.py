"""The fold: which session an event belongs to, what it does to it, and that nothing grows without a bound."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stream_app.core import processor, state
from stream_app.core.session import SESSION_EVENTS_MAX
from tests.core.streams import T0, Partition, at, event, label

MEGABYTE = 1_000_000


def sessions(partition: Partition) -> list[tuple[str, str, int]]:
    """(event id, session id, events) of each score."""
    return [(score["event_id"], score["session_id"], score["events"]) for score in partition.scores]


def test_events_within_the_gap_are_one_session_and_after_it_a_new_one() -> None:
    # a: 0 ── 30 ─ 60.0 | gap | 90.1
    partition = Partition()
    partition.step([event(n, "a", "view_item", m) for n, m in enumerate((0, 30, 60, 90.1))])
    first, second = f"a@{T0}", f"a@{at(90.1)}"
    assert sessions(partition) == [("e0", first, 1), ("e1", first, 2), ("e2", first, 3), ("e3", second, 1)]
    assert [closed["session_id"] for closed in partition.closed] == [first]


def test_a_session_id_that_returns_after_the_gap_gets_a_part_number() -> None:
    partition = Partition()
    partition.step([event(n, "a", "view_item", 31 * n, session_id="s") for n in range(3)])
    assert sessions(partition) == [("e0", "s", 1), ("e1", "s~2", 1), ("e2", "s~3", 1)]


def test_interleaved_session_ids_are_sessions_of_their_own() -> None:
    # phone  0 ─── 2 ─── 4
    # laptop    1 ─── 3
    partition = Partition()
    ids = ["phone", "laptop", "phone", "laptop", "phone"]
    partition.step([event(n, "a", "view_item", n, session_id=s) for n, s in enumerate(ids)])
    assert [row[1:] for row in sessions(partition)] == [
        ("phone", 1), ("laptop", 1), ("phone", 2), ("laptop", 2), ("phone", 3)
    ]  # fmt: skip
    assert len(partition.visitor("a").sessions) == 2


def test_interleaved_session_ids_that_both_return_both_get_a_part_number() -> None:
    # phone 0, laptop 1 | gap | phone 60, laptop 61 | gap | phone 120
    partition = Partition()
    stream = [(0, "phone"), (1, "laptop"), (60, "phone"), (61, "laptop"), (120, "phone")]
    partition.step([event(n, "a", "view_item", m, session_id=s) for n, (m, s) in enumerate(stream)])
    assert [row[1] for row in sessions(partition)] == ["phone", "laptop", "phone~2", "laptop~2", "phone~3"]


def test_a_session_that_starts_at_the_time_of_a_finished_one_gets_a_part_number() -> None:
    # A phone that was offline: its events come one by one, each after its session's time is over.
    partition = Partition()
    others = [event(n, v, "view_item", 300) for n, v in enumerate("bcd")]
    partition.step([*others, event(5, "a", "view_item", 0), event(6, "a", "add_to_cart", 0)])
    assert [row[1] for row in sessions(partition)[3:]] == [f"a@{T0}", f"a@{T0}~2"]


def test_out_of_order_events_within_the_gap_belong_to_the_session_and_move_its_start() -> None:
    # Arrival order 10, 5, 12, 11: no gap is negative, the age is 7 minutes.
    partition = Partition()
    partition.step([event(n, "a", "view_item", m) for n, m in enumerate((10, 5, 12, 11))])
    assert [row[2] for row in sessions(partition)] == [1, 2, 3, 4]
    (session,) = partition.visitor("a").sessions
    assert (session.start, session.last) == (at(5), at(12))
    # 10 → 5 is 0, 5 → 12 counts from the newest, 10: two minutes; 12 → 11 is 0.
    assert (session.gap_sum, session.gap_max) == (2 * 60_000, 2 * 60_000)


def test_an_event_more_than_a_gap_before_the_session_is_a_session_of_its_own() -> None:
    partition = Partition()
    partition.step([event(0, "a", "view_item", 100), event(1, "a", "view_item", 60)])
    assert [row[1] for row in sessions(partition)] == [f"a@{at(100)}", f"a@{at(60)}"]


def test_a_bounce_is_a_session_of_one_event_and_no_duration() -> None:
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0), event(1, "a", "view_item", 100)])
    (closed,) = partition.closed
    assert (closed["events"], closed["duration_ms"], closed["purchases"]) == (1, 0, 0)
    assert closed["reason"] == "gap"


def test_finished_sessions_become_the_visitors_history() -> None:
    # 0 view, 1 purchase 2 × 10 | gap | 60 view | gap | 120 view
    partition = Partition()
    partition.step(
        [
            event(0, "a", "view_item", 0),
            event(1, "a", "purchase", 1, price=10.0, quantity=2),
            event(2, "a", "view_item", 60),
            event(3, "a", "view_item", 120),
        ]
    )
    history = partition.visitor("a").history
    assert (history.sessions, history.purchases, history.spend, history.last_seen) == (2, 1, 20.0, at(60))


def test_a_history_older_than_its_life_is_forgotten() -> None:
    partition = Partition()
    partition.step([event(0, "a", "purchase", 0, price=1.0), event(1, "a", "view_item", 31 * 24 * 60)])
    assert partition.visitor("a").history == state.History()
    assert partition.feature("e1", "returning") == 0.0


def test_purchase_rows_of_one_order_are_one_checkout() -> None:
    # One row per order line, 3 × o1; then o2 right after it is another checkout.
    partition = Partition()
    rows = [event(n, "a", "purchase", n, order_id="o1", price=10.0) for n in range(3)]
    partition.step([*rows, event(3, "a", "purchase", 3, order_id="o2", price=5.0)])
    (session,) = partition.visitor("a").sessions
    assert (session.purchases, session.spend, session.episode) == (2, 35.0, 3)


def test_purchase_rows_without_order_ids_right_after_each_other_are_one_checkout() -> None:
    partition = Partition()
    kinds = ["view_item", "purchase", "purchase", "view_item", "purchase"]
    partition.step([event(n, "a", kind, n, price=10.0) for n, kind in enumerate(kinds)])
    assert partition.visitor("a").sessions[0].purchases == 2


@pytest.mark.parametrize("order_id", ["@abc", "@", "@1", "#", "", "@²", "é" * 256])
def test_an_order_id_of_any_form_is_an_id(order_id: str) -> None:
    """Ids with the mark that stands for "no id, known by its time" must neither fail nor match by time."""
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0), event(1, "a", "purchase", 1, order_id=order_id)])
    effects = partition.step(labels=[label(0, "a", 500, "another")])
    assert effects.labels == {"early": 1}
    if order_id:
        assert partition.step(labels=[label(1, "a", 2, order_id)]).labels == {"duplicate": 1}
        assert partition.step([event(2, "a", "purchase", 3, order_id="o2")]).events == {("purchase", "scored"): 1}
        assert partition.visitor("a").sessions[0].purchases == 2


def test_a_bots_session_is_split_at_its_event_bound() -> None:
    partition = Partition()
    bot = [event(n, "bot", "view_item", n / 1000, session_id="s") for n in range(SESSION_EVENTS_MAX + 2)]
    for start in range(0, len(bot), 2000):
        partition.step(bot[start : start + 2000])
    assert sessions(partition)[-3:] == [
        ("e9999", "s", SESSION_EVENTS_MAX), ("e10000", "s~2", 1), ("e10001", "s~2", 2)
    ]  # fmt: skip
    assert [closed["reason"] for closed in partition.closed] == ["bound"]


def test_a_session_is_split_after_a_day_though_it_never_pauses() -> None:
    partition = Partition()
    partition.step([event(n, "monitor", "page_view", 20 * n) for n in range(75)])
    # 24 h is event 72; event 73 is 20 minutes past it.
    assert [row[2] for row in sessions(partition)][71:75] == [72, 73, 1, 2]


def test_one_session_too_many_at_once_ends_the_oldest() -> None:
    partition = Partition()
    partition.step([event(n, "a", "view_item", n, session_id=f"s{n}") for n in range(state.OPEN_SESSIONS_MAX + 1)])
    assert [(closed["session_id"], closed["reason"]) for closed in partition.closed] == [("s0", "bound")]
    assert len(partition.visitor("a").sessions) == state.OPEN_SESSIONS_MAX


def test_twenty_thousand_events_of_one_bot_keep_its_blob_small() -> None:
    # 20,000 events of 1,000 items with ids of usual length, an hour long, in two sessions at once.
    partition = Partition()
    sizes = []
    for start in range(0, 20_000, 2_000):
        effects = partition.step(
            event(
                n, "bot", ("view_item", "add_to_cart", "purchase")[n % 3 if n % 50 == 0 else 0], n / 340,
                item_id=f"item-{n * 7919 % 1000:08d}", category=f"cat-{n % 300}", brand=f"brand-{n % 200}",
                price=float(n % 97), session_id=f"session-{n % 2}", order_id=f"order-{n}",
            )
            for n in range(start, start + 2_000)
        )  # fmt: skip
        assert len(effects.scores) == 2_000
        sizes.append(len(partition.states["bot"]))
    assert max(sizes) < 20_000
    # All that is kept is full after the first items and orders, and three batches come to every size that there is:
    # a byte for each tenth event would be another 1,000.
    assert max(sizes[6:]) < max(sizes[2:6]) + 200


def test_the_worst_that_a_visitor_can_send_fits_in_one_kafka_message() -> None:
    """Brokers refuse more than 1 MB by default; a state that cannot be written would stop its partition for good."""
    partition = Partition()
    wide = "\U0001f6d2" * 250  # four bytes each in UTF-8: ids may have 256 characters
    records = []
    for n in range(state.OPEN_SESSIONS_MAX * 80):
        session, step = divmod(n, 80)
        records.append(
            event(
                n, wide + "v", "view_item", n / 100, event_id=wide + str(n), session_id=f"{wide}{session}",
                item_id=f"{wide}{step}", category=f"{wide}{step}", brand=f"{wide}{step}", price=1.0,
                source=wide, country=wide,
            )
        )  # fmt: skip
    marks = [label(n, wide + "v", 500, f"{wide}{n}", session_id=f"{wide}9") for n in range(state.MARKS_MAX)]
    for start in range(0, len(records), 80):
        partition.step(records[start : start + 80])
    partition.step(labels=marks)
    (visitor,) = partition.states
    assert len(partition.visitor(visitor).sessions) == state.OPEN_SESSIONS_MAX
    assert len(partition.states[visitor]) < MEGABYTE
    effects = partition.step([event(9_999, wide + "v", "purchase", 100, session_id="x")])
    assert effects.sessions_closed == state.OPEN_SESSIONS_MAX
    assert max(len(value) for _, value in effects.examples) < MEGABYTE


def test_a_state_of_another_version_is_refused_with_what_to_do() -> None:
    blob = state.encode(state.Visitor())
    assert state.decode(blob) == state.Visitor()
    with pytest.raises(state.StateVersionError, match=r"got state version 9, this program reads version 1"):
        state.decode(b"\x09" + blob[1:])
    with pytest.raises(state.DamagedStateError, match="empty state"):
        state.decode(b"")
    with pytest.raises(state.DamagedStateError, match="damaged"):
        state.decode(blob[:-1])


def endings(partition: Partition) -> dict[str, tuple[list[int], int, int]]:
    """Visitor → where its session ended, the offset of the next event then, and its last label's."""
    return {
        closed["visitor_id"]: (closed["position"], closed["next_offset"], closed["labels_offset"])
        for closed in partition.closed
    }


def test_a_closed_session_says_which_event_ended_it_and_which_label_had_been_told() -> None:
    # a 0 ─ b, c, d 0 ─ | ─ b, c, d 32: the watermark passes 30 at the first that a majority supports
    partition = Partition()
    partition.step([event(n, visitor, "view_item", 0) for n, visitor in enumerate("abcd")])
    partition.step(labels=[label(4, "a", 1, "o1"), label(7, "a", 2, "o2")])
    partition.step([event(4 + n, visitor, "view_item", 32) for n, visitor in enumerate("bcd")])
    position, next_offset, labels_offset = endings(partition)["a"]
    assert (position[0], labels_offset) == (1, 7)
    assert next_offset == position[1] + 1
    assert partition.closed[0]["position"] == [1, 4]  # b's own coming back ended its session
    assert {example["position"][1] for example in partition.examples if example["visitor_id"] == "a"} == {position[1]}


def test_a_session_that_the_clock_ended_says_its_deadline_and_the_next_offset() -> None:
    partition = Partition()
    partition.step([event(n, visitor, "view_item", 0) for n, visitor in enumerate("abcd")])
    partition.step(idle_ms=40 * 60_000)
    assert endings(partition) == {visitor: ([2, at(30)], 4, -1) for visitor in "abcd"}


def test_more_sessions_than_one_batch_may_end_are_all_ended_by_the_clock_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processor, "DUE_VISITORS_MAX", 2)
    partition = Partition()
    partition.step([event(n, f"v{n}", "view_item", n / 10) for n in range(6)])
    partition.step([event(6 + n, visitor, "view_item", 60) for n, visitor in enumerate("xyz")])
    kinds = [(closed["position"][0], closed["visitor_id"]) for closed in partition.closed]
    assert [visitor for _, visitor in kinds] == [f"v{n}" for n in range(6)]
    assert {kind for kind, _ in kinds} == {2}
    assert {closed["next_offset"] for closed in partition.closed} == {9}


def test_an_episode_tracks_no_more_names_than_fit_into_its_records() -> None:
    # 256 characters are the longest name; sixteen of them are all that is tracked, the others still count.
    partition = Partition()
    partition.step([event(n, "v", "view_item", n / 100, item_id=f"{n:0256d}", category="c") for n in range(20)])
    last = partition.features[-1]
    assert last["keys"]["items"] == [f"{n:0256d}" for n in range(16)]
    assert last["keys"]["categories"] == ["c"]
    assert last["events"] == 20


def test_a_closed_session_says_the_category_last_touched_in_it_whether_it_bought_or_not() -> None:
    partition = Partition()
    partition.step(
        [
            event(0, "looks", "view_item", 0, category="shoes"),
            event(1, "looks", "view_item", 1, category="hats"),
            event(2, "looks", "page_view", 2),
            event(3, "buys", "view_item", 0, category="shoes"),
            event(4, "buys", "purchase", 1, category="gloves", order_id="o1"),
            event(5, "buys", "purchase", 3, category="gloves", order_id="o2"),
            event(6, "goes on", "view_item", 0, category="shoes"),
            event(7, "goes on", "purchase", 1, order_id="o3"),
            event(8, "goes on", "view_item", 2, category="hats"),
            event(9, "sends back", "refund", 0, category="hats", order_id="o4"),
        ]
    )
    partition.step(idle_ms=40 * 60_000)
    # A purchase and a refund touch nothing, and a checkout does not make forget what led to it.
    assert {closed["visitor_id"]: closed["category"] for closed in partition.closed} == {
        "looks": "hats", "buys": "shoes", "goes on": "hats", "sends back": None,
    }  # fmt: skip


def test_a_state_from_before_a_session_kept_its_category_is_read() -> None:
    partition = Partition()
    partition.step([event(0, "v", "view_item", 0, category="shoes"), event(1, "v", "purchase", 1, order_id="o1")])
    told: list[Any] = msgspec.msgpack.decode(partition.states["v"][1:])
    sessions = told[3]
    *sessions[0], category, _, _ = sessions[0]
    assert category == "shoes"
    partition.states["v"] = partition.states["v"][:1] + msgspec.msgpack.encode(told)
    partition.restart()
    partition.step([event(2, "v", "page_view", 2)])
    partition.step(idle_ms=40 * 60_000)
    assert [(closed["events"], closed["category"]) for closed in partition.closed] == [(3, None)]
