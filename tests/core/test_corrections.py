"""Labels that come after their session's end, and orders taken back after they were taught: each corrects, once.

Sessions end 30 minutes after their last event, at a watermark that trails by one; x, y and z move time on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core import state
from stream_app.core.processor import Rules
from tests.core.streams import DAY, RULES, HashScorer, Partition, Record, at, crowd, event, label
from tests.fuzz.hostile_partition import OUTPUT_BYTES_MAX

#: What a correction repeats of the example it corrects.
SAME = (
    "visitor_id", "session_id", "event_time", "event_type", "events", "features", "keys", "score", "model_version",
    "cold", "weight",
)  # fmt: skip

LABELLED, UNLABELLED = (1, "label"), (0, "label")


def rules(**fields: Any) -> Rules:
    return dataclasses.replace(RULES, **fields)


def ended(*stream: Record, minutes: float = 90, **fields: Any) -> Partition:
    """The records, and then nothing of the visitor any more until its sessions are over."""
    partition = Partition(rules(**fields), HashScorer())
    partition.step(stream)
    partition.step(crowd(1_000, minutes))
    return partition


def corrected(partition: Partition) -> list[dict[str, Any]]:
    return [example for example in partition.examples if example["previous"] >= 0]


# ---- checkouts told late --------------------------------------------------------------------------------------------


def test_a_label_after_its_sessions_end_corrects_the_events_up_to_its_time_and_no_later_one() -> None:
    # e0 (0) ─ e1 (1) ─ e2 (3) ─ | the session is over at 33 and taught as not bought ─ the label of minute 2 arrives
    partition = ended(
        event(0, "a", "view_item", 0, item_id="i1"),
        event(1, "a", "add_to_cart", 1, item_id="i2"),
        event(2, "a", "view_item", 3, item_id="i3"),
    )
    before = {example["event_id"]: example for example in partition.examples}
    assert set(partition.labels_of().values()) == {(0, "session_end")}
    assert partition.step(labels=[label(7, "a", 2, "o1")]).labels == {"corrected": 1}
    assert partition.labels_of() == {"e0": LABELLED, "e1": LABELLED, "e2": (0, "session_end")}
    found = corrected(partition)
    for example in found:
        assert {name: example[name] for name in SAME} == {name: before[example["event_id"]][name] for name in SAME}
        assert (example["previous"], example["previous_time"], example["label_time"]) == (0, at(33), at(2))
        assert example["events_offset"] == 2
    assert [example["position"][:2] for example in found] == [[0, 7], [0, 7]]
    assert [example["left"] for example in found] == [1, 0]
    assert found[0]["touched"] is None
    # What its last event knew, and that the rest stays an outcome of its own.
    assert found[1]["touched"]["items"] == ["i1", "i2"]
    assert found[1]["touched"]["parted"]
    assert partition.visitor("a").marks == []


def test_a_label_after_the_last_event_corrects_all_of_the_session_and_all_it_touched() -> None:
    partition = ended(*(event(n, "a", "view_item", n, item_id=f"i{n}") for n in range(20)))
    told = partition.examples[-1]["touched"]
    partition.step(labels=[label(0, "a", 40, "o1")])
    found = corrected(partition)
    assert {example["event_id"] for example in found} == set(partition.labels_of())
    assert len(found) == RULES.reservoir_size
    assert found[-1]["touched"] == told


def test_a_label_told_again_or_with_an_earlier_time_corrects_nothing_and_with_a_later_one_the_rest() -> None:
    partition = ended(*(event(n, "a", "view_item", n) for n in range(4)))
    assert partition.step(labels=[label(0, "a", 1.5, "o1")]).labels == {"corrected": 1}
    again = [label(1, "a", 1.5, "o1"), label(2, "a", 0.5, "o1")]
    assert partition.step(labels=again).labels == {"duplicate": 2}
    assert len(corrected(partition)) == 2
    assert partition.step(labels=[label(3, "a", 2.5, "o1")]).labels == {"corrected": 1}
    assert partition.labels_of() == {"e0": LABELLED, "e1": LABELLED, "e2": LABELLED, "e3": (0, "session_end")}


def test_a_label_at_or_below_the_applied_offset_corrects_nothing_again() -> None:
    partition = ended(event(0, "a", "view_item", 0))
    partition.step(labels=[label(4, "a", 1, "o1")])
    partition.processor.position.labels_offset = 4
    blob = partition.states["a"]
    assert partition.step(labels=[label(4, "a", 1, "o1")]).labels == {"replayed": 1}
    assert (len(corrected(partition)), partition.states["a"]) == (1, blob)


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        pytest.param({"minutes": 31}, "unmatched", id="later than a gap after its last event"),
        pytest.param({"minutes": -1}, "unmatched", id="before its first"),
        pytest.param({"session_id": "s2"}, "unmatched", id="of another session id"),
        pytest.param({"session_id": "s1"}, "corrected", id="of its session id"),
        pytest.param({}, "corrected", id="without one"),
    ],
)
def test_a_late_label_belongs_to_a_finished_session_by_id_and_time(told: dict[str, Any], outcome: str) -> None:
    partition = ended(event(0, "a", "view_item", 0, session_id="s1"))
    fields = {"minutes": 5, **told}
    assert partition.step(labels=[label(0, "a", fields.pop("minutes"), "o1", **fields)]).labels == {outcome: 1}
    assert bool(corrected(partition)) == (outcome == "corrected")


def test_of_two_finished_sessions_the_newest_has_a_late_label_and_an_open_one_goes_before_both() -> None:
    partition = ended(event(0, "a", "view_item", 0, session_id="s1"), event(1, "a", "view_item", 1, session_id="s2"))
    partition.step(labels=[label(0, "a", 5, "o1")])
    assert partition.labels_of() == {"e0": (0, "session_end"), "e1": LABELLED}
    # s3 is open when o2 comes, and takes the label to its end.
    partition.step([event(2, "a", "view_item", 20, session_id="s3")])
    partition = ended(event(0, "a", "view_item", 0, session_id="s1"), minutes=30.5)
    partition.step([event(1, "a", "view_item", 25, session_id="s2"), *crowd(2_000, 40)])
    assert partition.step(labels=[label(0, "a", 26, "o2")]).labels == {"matched": 1}
    assert corrected(partition) == []


def test_a_session_remembers_its_purchase_when_a_late_label_has_corrected_what_came_after_it() -> None:
    # t's one event is a purchase: o1 corrects what followed from it, and o3, told last, is still that purchase's.
    partition = ended(
        event(0, "a", "view_item", 0, session_id="s"),
        event(1, "a", "view_item", 0, session_id="s"),
        event(2, "a", "purchase", 1, session_id="t", order_id="o3"),
    )
    assert partition.step(labels=[label(0, "a", 1, "o1")]).labels == {"corrected": 1}
    assert partition.step(labels=[label(1, "a", 0, "o3")]).labels == {"duplicate": 1}
    assert partition.labels_of() == {"e0": (0, "session_end"), "e1": (0, "session_end"), "e2": LABELLED}


@pytest.mark.parametrize("order_id", ["o1", None])
def test_a_late_label_of_a_purchase_that_was_seen_is_a_duplicate(order_id: str | None) -> None:
    order = {} if order_id is None else {"order_id": order_id}
    partition = ended(event(0, "a", "view_item", 0), event(1, "a", "purchase", 1, **order), event(2, "a", "like", 2))
    assert partition.step(labels=[label(0, "a", 1.5, "o1")]).labels == {"duplicate": 1}
    assert corrected(partition) == []


def test_a_late_label_of_another_order_corrects_what_came_after_the_purchase_and_not_what_led_to_it() -> None:
    purchase = event(1, "a", "purchase", 1, order_id="o1")
    partition = ended(event(0, "a", "view_item", 0), purchase, event(2, "a", "view_item", 5))
    assert partition.step(labels=[label(0, "a", 25, "o2")]).labels == {"corrected": 1}
    assert partition.labels_of() == {"e0": (1, "purchase"), "e1": LABELLED, "e2": LABELLED}


# ---- orders taken back ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["refund", "cancel"])
@pytest.mark.parametrize("over", [False, True], ids=["while the session is open", "after its end"])
@pytest.mark.parametrize("order_id", ["o1", None])
def test_an_order_taken_back_corrects_what_led_to_its_purchase(kind: str, over: bool, order_id: str | None) -> None:
    order = {} if order_id is None else {"order_id": order_id}
    partition = Partition(scorer=HashScorer())
    partition.step([event(0, "a", "view_item", 0, item_id="i"), event(1, "a", "purchase", 1, **order)])
    before = partition.examples[-1]
    if over:
        partition.step(crowd(1_000, 90))
    assert partition.step(labels=[label(0, "a", 1, "o1", kind=kind)]).labels == {"corrected": 1}
    assert partition.labels_of()["e0"] == UNLABELLED
    (found,) = corrected(partition)
    assert (found["previous"], found["previous_time"], found["label_time"]) == (1, at(1), at(1))
    assert found["touched"] == before["touched"]
    assert {name: found[name] for name in SAME} == {name: before[name] for name in SAME}


def test_an_order_of_several_rows_is_taken_back_by_any_of_their_ids() -> None:
    # The first row has no id, the second tells it.
    partition = ended(
        event(0, "a", "view_item", 0), event(1, "a", "purchase", 1), event(2, "a", "purchase", 1, order_id="o1")
    )
    partition.step(labels=[label(0, "a", 20, "o1", kind="refund")])
    assert partition.labels_of()["e0"] == UNLABELLED


def test_an_order_taken_back_twice_is_corrected_once_and_its_checkout_told_again_stays_taken_back() -> None:
    partition = ended(event(0, "a", "view_item", 0))
    told = [
        label(0, "a", 1, "o1"),
        label(1, "a", 9, "o1", kind="cancel"),
        label(2, "a", 9, "o1", kind="refund"),
        label(3, "a", 1, "o1"),
    ]
    assert partition.step(labels=told).labels == {"corrected": 2, "refund": 1, "taken_back": 1}
    assert [(example["previous"], example["label"]) for example in corrected(partition)] == [(0, 1), (1, 0)]
    # Of another order the session may yet have been.
    assert partition.step(labels=[label(4, "a", 2, "o2")]).labels == {"corrected": 1}
    assert partition.labels_of() == {"e0": LABELLED}


def test_a_checkout_told_after_it_was_taken_back_teaches_nothing() -> None:
    partition = Partition()
    partition.step(labels=[label(0, "a", 5, "o1", kind="refund")])
    partition.step([event(0, "a", "view_item", 0)])
    assert partition.step(labels=[label(1, "a", 5, "o1")]).labels == {"taken_back": 1}
    partition.step(crowd(1_000, 90))
    assert partition.labels_of() == {"e0": (0, "session_end")}


def test_what_a_label_taught_in_two_parts_is_taken_back_whole() -> None:
    # e0 at once, e1 (told out of order) at the session's end, e2 came after.
    partition = Partition(scorer=HashScorer())
    partition.step([event(0, "a", "view_item", 0)])
    partition.step(labels=[label(0, "a", 2, "o1")])
    partition.step([event(1, "a", "view_item", 1), event(2, "a", "view_item", 3), *crowd(1_000, 90)])
    assert partition.labels_of() == {"e0": LABELLED, "e1": LABELLED, "e2": (0, "session_end")}
    partition.step(labels=[label(1, "a", 2, "o1", kind="refund")])
    assert partition.labels_of() == {"e0": UNLABELLED, "e1": UNLABELLED, "e2": (0, "session_end")}


# ---- what is remembered ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("past_ms", "outcome"), [(-1, "corrected"), (0, "unmatched")])
def test_an_outcome_is_corrected_until_the_watermark_has_left_it_behind_by_the_setting(
    past_ms: int, outcome: str
) -> None:
    # Over at minute 30, remembered for a day; the watermark trails by a minute.
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0), *crowd(1, 90)])
    partition.step(crowd(4, 31 + (DAY + past_ms) / 60_000))
    assert partition.step(labels=[label(0, "a", 1, "o1")]).labels == {outcome: 1}


def test_an_outcome_is_forgotten_at_the_visitors_first_event_after_its_time() -> None:
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0), *crowd(1, 90), *crowd(4, 2_000)])
    assert len(partition.visitor("a").taught) == 1
    partition.step([event(7, "a", "view_item", 2_000)])
    assert partition.visitor("a").taught == []


def test_nothing_is_remembered_when_the_setting_is_0() -> None:
    partition = ended(event(0, "a", "view_item", 0), event(1, "a", "purchase", 1, order_id="o1"), late_label_ms=0)
    assert partition.visitor("a").taught == []
    told = [label(0, "a", 5, "o2"), label(1, "a", 5, "o1", kind="refund")]
    assert partition.step(labels=told).labels == {"unmatched": 1, "refund": 1}
    assert corrected(partition) == []


def test_the_latest_four_outcomes_are_remembered_and_a_crawlers_is_not() -> None:
    partition = Partition()
    partition.step([event(n, "a", "view_item", 60 * n, session_id=f"s{n}") for n in range(6)])
    assert [taught.session_id for taught in partition.visitor("a").taught] == ["s1", "s2", "s3", "s4"]
    partition = ended(*(event(n, "a", "view_item", n / 10, item_id=f"i{n}") for n in range(33)))
    assert partition.visitor("a").taught == []


def test_a_blob_from_before_outcomes_were_remembered_has_none() -> None:
    import msgspec

    partition = ended(event(0, "a", "view_item", 0))
    *fields, _, _ = msgspec.msgpack.decode(partition.states["a"][1:])
    old = state.decode(bytes([state.STATE_VERSION]) + msgspec.msgpack.encode(fields))
    assert (old.taught, old.taken_back) == ([], [])
    assert old.history == partition.visitor("a").history


def test_the_longest_names_in_all_that_is_remembered_fit_into_one_kafka_message() -> None:
    wide = "\U0001f6d2" * 250  # four bytes each in UTF-8
    partition = Partition(rules(reservoir_size=24))
    kinds = ("view_item", "search", "add_to_cart", "page_view", "view_cart", "begin_checkout", "remove_from_cart")
    visitor, n = wide + "v", 0
    for round_ in range(2):
        for session in range(state.OPEN_SESSIONS_MAX):
            for step in range(state.TAUGHT_KEYS_MAX):
                names = dict.fromkeys(("item_id", "category", "brand", "source", "country"), f"{wide}{step}")
                kind = kinds[(step * step + step // 7) % len(kinds)]
                place = round_ * 200 + n / 100
                own = {"event_id": f"{wide}{n}", "session_id": f"{wide}{round_}{session}", "price": 1.0}
                partition.step([event(n, visitor, kind, place, **own, **names)])
                n += 1
    taken_back = [label(m, visitor, 5, f"{wide}{m}", kind="refund") for m in range(state.TAKEN_BACK_MAX)]
    marks = [label(50 + m, visitor, 900, f"{wide}{50 + m}", session_id=f"{wide}9") for m in range(state.MARKS_MAX)]
    partition.step(labels=[*taken_back, *marks])
    found = partition.visitor(visitor)
    sizes = (len(found.sessions), len(found.taught), len(found.taken_back), len(found.marks))
    assert sizes == (state.OPEN_SESSIONS_MAX, state.TAUGHT_MAX, state.TAKEN_BACK_MAX, state.MARKS_MAX)
    assert len(partition.states[visitor]) < OUTPUT_BYTES_MAX


# ---- any stream -----------------------------------------------------------------------------------------------------


@st.composite
def sessions(draw: st.DrawFn) -> list[Record]:
    """One visitor's sessions, hours apart, some beside each other, with and without ids; then they are over."""
    found: list[Record] = []
    for place in range(draw(st.integers(1, 3))):
        ids = draw(st.sampled_from(((None,), (f"s{place}",), (f"s{place}", f"t{place}"), (None, f"s{place}"))))
        for _ in range(draw(st.integers(1, 12))):
            kind = draw(st.sampled_from(("view_item", "view_item", "view_item", "add_to_cart", "purchase")))
            fields: dict[str, Any] = {"item_id": draw(st.sampled_from(("i1", "i2", "i3")))}
            session_id = draw(st.sampled_from(ids))
            if session_id is not None:
                fields["session_id"] = session_id
            if kind == "purchase" and (order := draw(st.sampled_from((None, "o1", "o2", "o3")))):
                fields["order_id"] = order
            found.append(event(len(found), "a", kind, 120 * place + draw(st.integers(0, 25)), **fields))
    return found


LATE = st.lists(
    st.tuples(
        st.integers(-5, 300),
        st.sampled_from(("o1", "o2", "o3", "o4")),
        st.sampled_from(("checkout", "checkout", "refund", "cancel")),
        st.sampled_from((None, None, "s0", "s1", "t0")),
    ),
    min_size=1,
    max_size=10,
)


def late(drawn: Sequence[tuple[int, str, str, str | None]]) -> list[Record]:
    return [
        label(n, "a", minutes, order_id, kind=kind, **({} if session_id is None else {"session_id": session_id}))
        for n, (minutes, order_id, kind, session_id) in enumerate(drawn)
    ]


@settings(max_examples=120, deadline=None)
@given(stream=sessions(), drawn=LATE, cuts=st.lists(st.booleans(), min_size=1, max_size=5))
def test_corrections_flip_what_was_taught_are_told_once_and_do_not_depend_on_batches(
    stream: list[Record], drawn: list[Any], cuts: list[bool]
) -> None:
    told = late(drawn)
    whole, cut = ended(*stream, minutes=400), ended(*stream, minutes=400)
    served = {example["event_id"]: example for example in whole.examples}
    whole.step(labels=told)
    for n, one in enumerate(told):
        if cuts[n % len(cuts)]:
            cut.restart()
        cut.step(labels=[one])
    assert (cut.examples, cut.states) == (whole.examples, whole.states)
    # `labels_of` asserts that each correction starts from the label taught before, and ends with the other.
    labels = whole.labels_of()
    assert set(labels) == set(served)
    for example in corrected(whole):
        assert {name: example[name] for name in SAME} == {name: served[example["event_id"]][name] for name in SAME}
    positions = [tuple(example["position"]) for example in corrected(whole)]
    assert positions == sorted(set(positions))
    # All told once more, as an export that is sent again. What an order leaves that is taken back in between may become
    # another's, and then stays so; with checkouts alone nothing changes at all.
    count = len(whole.examples)
    for repeat in (1, 2):
        whole.step(labels=[one._replace(offset=100 * repeat + n) for n, one in enumerate(told)])
        if repeat == 2 or all(kind == "checkout" for _, _, kind, _ in drawn):
            assert len(whole.examples) == count
        count = len(whole.examples)
    note(f"corrected {bool(positions)}")


@settings(max_examples=120, deadline=None)
@given(stream=sessions(), drawn=LATE)
def test_checkouts_told_late_leave_the_labels_that_they_would_have_given_in_time(
    stream: list[Record], drawn: list[Any]
) -> None:
    # All of a session's events fit into the reservoir, so that both teach the same ones. In time means here: while no
    # session is over and all are open, which they are of the first part only.
    first = [record for record in stream if record.timestamp < at(60)]
    told = late([(minutes % 60, order_id, "checkout", session_id) for minutes, order_id, _, session_id in drawn][:6])
    intime = Partition(rules(reservoir_size=24), HashScorer())
    intime.step(first)
    # Told before the end, and not at once: which of the labels of one moment is at once would differ.
    for one in told:
        intime.step(labels=[one])
    intime.step(crowd(1_000, 90))
    after = ended(*first, reservoir_size=24)
    after.step(labels=told)
    assert after.features == intime.features
    one, other = ({e: got[0] for e, got in partition.labels_of().items()} for partition in (intime, after))
    assert one == other
    note(f"bought {sum(one.values())} corrected {len(corrected(after))}")
