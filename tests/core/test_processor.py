"""One partition without its I/O: golden streams (records in, effects out), labels, time, and what bad input leaves."""

from __future__ import annotations

import json
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pytest

from stream_app.core import processor, state
from stream_app.core.effects import Position, decode_position, encode_position
from stream_app.core.features import FeatureValues
from stream_app.core.plan import WithoutReasons
from stream_app.core.records import Keys
from tests.core.streams import DAY, GRACE, MINUTE, RULES, T0, Partition, Record, at, crowd, event, label


class CountingScorer(WithoutReasons):
    """The n-th event scored gets n thousandths; its version is told with each."""

    name, updates, cold = "counting", 5, False
    bands = None

    def __init__(self) -> None:
        self.version = 1
        self.scored = 0

    def score_many(self, x: npt.NDArray[np.float64], keys: list[Keys]) -> npt.NDArray[np.float64]:
        scores = np.arange(self.scored + 1, self.scored + len(x) + 1) / 1000
        self.scored += len(x)
        return scores


# ---- golden streams -------------------------------------------------------------------------------------------------


def test_a_checkout_ends_an_episode_and_what_follows_belongs_to_the_next() -> None:
    # e0 view ─ e1 view ─ e2 add_to_cart ─ e3 purchase ─ e4 view ─ | gap: e0 … e2 bought; e3, e4 did not buy again
    partition = Partition()
    kinds = ["view_item", "view_item", "add_to_cart", "purchase", "view_item"]
    stream = [event(n, "a", kind, n, item_id="i1", category="c") for n, kind in enumerate(kinds)]
    partition.step(stream[:4])
    bought = (1, "purchase")
    assert partition.labels_of() == {"e0": bought, "e1": bought, "e2": bought}
    assert {example["label_time"] for example in partition.examples} == {at(3)}
    partition.step([stream[4], *crowd(5, 5), *crowd(8, 34)])
    assert len(partition.examples) == 3  # the watermark is at 33, the deadline at 34
    partition.step([event(11, "x", "page_view", 35)])
    over = (0, "session_end")
    assert partition.labels_of() == {"e0": bought, "e1": bought, "e2": bought, "e3": over, "e4": over}
    (closed,) = partition.closed
    assert (closed["events"], closed["purchases"], closed["start"], closed["end"]) == (5, 1, at(0), at(4))


def test_examples_carry_features_score_and_version_exactly_as_served() -> None:
    scorer = CountingScorer()
    partition = Partition(scorer=scorer)
    partition.step([event(0, "a", "view_item", 0, item_id="i1", brand="b"), event(1, "b", "search", 0)])
    scorer.version = 2
    partition.step([event(2, "a", "view_item", 1, item_id="i2", source="ads", country="DE")])
    scorer.version = 3
    partition.step([event(3, "a", "purchase", 2)])
    served = {score["event_id"]: (score["score"], score["model_version"], score["cold"]) for score in partition.scores}
    shown = {record["event_id"]: (record["features"], record["keys"]) for record in partition.features}
    assert served["e0"] == (0.001, 1, False)
    assert served["e2"] == (0.003, 2, False)
    assert [example["event_id"] for example in partition.examples] == ["e0", "e2"]
    for example in partition.examples:
        assert (example["score"], example["model_version"], example["cold"]) == served[example["event_id"]]
        assert (example["features"], example["keys"]) == shown[example["event_id"]]
        assert (example["visitor_id"], example["session_id"]) == ("a", f"a@{T0}")
    assert [example["events"] for example in partition.examples] == [1, 2]


def test_a_score_record_says_all_that_a_subscriber_needs() -> None:
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0, session_id="s", item_id="i")])
    assert partition.scores == [
        {
            "event_id": "e0", "visitor_id": "a", "session_id": "s", "event_time": T0, "event_type": "view_item",
            "events": 1, "score": 0.125, "band": "on_the_fence", "model": "constant", "model_version": 7,
            "model_updates": 70, "cold": False, "late": False, "scored_at": T0, "watermark": -1,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("score", "band"),
    [(0.0799, "unlikely"), (0.08, "on_the_fence"), (0.2499, "on_the_fence"), (0.25, "likely"), (0.9, "likely")],
)
def test_a_band_begins_at_its_threshold(score: float, band: str) -> None:
    class Says(WithoutReasons):
        name, version, updates, cold = "says", 1, 1, False
        bands = None

        def score_many(self, x: npt.NDArray[np.float64], keys: list[Keys]) -> npt.NDArray[np.float64]:
            return np.full(len(x), score)

    partition = Partition(scorer=Says())
    effects = partition.step([event(0, "a", "view_item", 0)])
    assert partition.scores[0]["band"] == band
    assert effects.bands == {band: 1}


def test_a_purchase_without_a_cart_labels_the_views_before_it() -> None:
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0), event(1, "a", "purchase", 1)])
    assert partition.labels_of() == {"e0": (1, "purchase")}


def test_a_purchase_as_the_first_event_has_nothing_to_label_and_is_scored() -> None:
    partition = Partition()
    partition.step([event(0, "a", "purchase", 0)])
    assert partition.examples == []
    assert partition.scores[0]["events"] == 1


def test_lines_of_one_order_do_not_label_each_other_as_checkouts() -> None:
    # view ─ purchase o1 ─ purchase o1 ─ view ─ | : the two lines and the last view did not lead to a checkout
    partition = Partition()
    stream = [("view_item", {}), ("purchase", {"order_id": "o1"}), ("purchase", {"order_id": "o1"}), ("view_item", {})]
    partition.step([event(n, "a", kind, n, **fields) for n, (kind, fields) in enumerate(stream)])
    partition.step([event(4, "a", "view_item", 100)])
    assert partition.labels_of() == {
        "e0": (1, "purchase"), "e1": (0, "session_end"), "e2": (0, "session_end"), "e3": (0, "session_end")
    }  # fmt: skip
    assert partition.closed[0]["purchases"] == 1


def test_only_the_last_example_of_an_episode_tells_what_it_touched() -> None:
    partition = Partition()
    partition.step(
        [
            event(0, "a", "view_item", 0, item_id="i1", category="c1", brand="b1", source="ads", country="DE"),
            event(1, "a", "view_item", 1, item_id="i2", category="c1"),
            event(2, "a", "purchase", 2),
        ]
    )
    first, last = partition.examples
    assert first["touched"] is None
    # Steps: viewing an item (code 3), on another item than before: 2 × 3 = 6. Transitions: in (11) to an item, that is
    # 11 × 11 + 3, and from an item to an item, 3 × 11 + 3.
    assert last["touched"] == {
        "items": ["i1", "i2"], "categories": ["c1"], "brands": ["b1"], "steps": [6], "source": "ads", "country": "DE",
        "transitions": [124, 1, 36, 1],
    }  # fmt: skip
    assert last["keys"] == {
        "item": "i2", "category": "c1", "source": "ads", "country": "DE", "step": 6, "items": ["i1", "i2"],
        "categories": ["c1"], "brands": ["b1"], "transition": 36, "transitions": [124, 1, 36, 1],
    }  # fmt: skip


def test_the_names_of_an_episode_say_whether_something_was_carted_and_how_often_each_transition_was_made() -> None:
    partition = Partition()
    views = [event(n, "a", "view_item", n / 10, item_id="i1") for n in range(12)]
    partition.step([*views, event(12, "a", "add_to_cart", 2, item_id="i1"), event(13, "a", "purchase", 3)])
    touched = partition.examples[-1]["touched"]
    assert touched["carted"] is True
    # In to an item; from an item to an item eleven times, of which eight count; from an item to the cart (5).
    assert touched["transitions"] == [124, 1, 36, 8, 38, 1]
    # What comes after the checkout is an episode of its own.
    partition.step([event(14, "a", "view_item", 4, item_id="i1")])
    assert partition.features[-1]["keys"]["transitions"] == [124, 1]
    assert "transitions" not in partition.features[-2]["keys"]


def test_a_long_episode_gives_as_many_examples_as_the_reservoir_and_their_weights_sum_to_all() -> None:
    partition = Partition()
    partition.step([event(n, "a", "view_item", n / 10) for n in range(100)])
    partition.step([event(100, "a", "purchase", 11)])
    assert len(partition.examples) == RULES.reservoir_size
    assert sum(example["weight"] for example in partition.examples) == pytest.approx(100)
    numbers = [example["events"] for example in partition.examples]
    assert numbers == sorted(numbers)
    assert numbers[-1] > 50  # a sample of all, not the first eight: one in 2⁸ such samples would miss


# ---- duplicates, late events, dead letters --------------------------------------------------------------------------


def test_a_repeated_event_gets_no_second_score_and_changes_nothing() -> None:
    once, twice = Partition(), Partition()
    stream = [event(0, "a", "view_item", 0), event(1, "a", "add_to_cart", 1)]
    again = [record._replace(offset=record.offset + 2) for record in stream]
    after = event(9, "a", "view_item", 2)
    once.step([*stream, after])
    effects = twice.step([*stream, *again, after])
    assert twice.scores == once.scores
    assert twice.states == once.states
    assert effects.events["view_item", "duplicate"] == 1
    assert effects.events["add_to_cart", "duplicate"] == 1
    assert effects.position.events_offset == 10


def test_one_id_for_different_events_is_a_careless_sender_and_no_repetition() -> None:
    partition = Partition()
    partition.step([event(n, "a", "view_item", n, event_id="constant") for n in range(3)])
    assert len(partition.scores) == 3


def test_a_repetition_is_recognised_for_as_many_events_as_are_remembered() -> None:
    partition = Partition()
    stream = [event(n, "a", "view_item", n / 10) for n in range(state.RECENT_EVENTS_MAX + 1)]
    partition.step(stream)
    outcome = [dict(partition.step([stream[n]._replace(offset=100 + m)]).events) for m, n in enumerate((1, 0))]
    assert outcome == [{("view_item", "duplicate"): 1}, {("view_item", "scored"): 1}]


def test_a_late_event_is_scored_said_to_be_late_and_its_session_ends_at_once() -> None:
    # The watermark is at minute 99; an event of minute 10 was over at 40.
    partition = Partition()
    effects = partition.step([*crowd(0, 100), event(3, "a", "view_item", 10)])
    assert [score["late"] for score in partition.scores] == [False, False, False, True]
    assert effects.events["view_item", "late"] == 1
    assert partition.labels_of() == {"e3": (0, "session_end")}
    assert [closed["visitor_id"] for closed in partition.closed] == ["a"]


def test_an_event_out_of_order_within_gap_and_grace_is_not_late() -> None:
    partition = Partition()
    partition.step([*crowd(0, 100), event(3, "a", "view_item", 100 - 31 + 0.001)])
    assert [score["late"] for score in partition.scores] == [False] * 4


def test_bad_records_become_dead_letters_with_their_bytes_and_the_others_go_on() -> None:
    partition = Partition()
    bad = Record("events", 1, T0, b"key", b"\xffnot json")
    empty = Record("events", 2, T0, None, None)
    bad_label = Record("labels", 5, T0, b"a", b"[]")
    effects = partition.step([event(0, "a", "view_item", 0), bad, empty, event(3, "a", "view_item", 1)], [bad_label])
    letters = [(d.topic, d.partition, d.offset, d.key, d.value, d.reason) for d in effects.dead_letters]
    assert letters == [
        ("labels", 3, 5, b"a", b"[]", "wrong_type"),
        ("events", 3, 1, b"key", b"\xffnot json", "not_json"),
        ("events", 3, 2, None, None, "empty_value"),
    ]
    assert [score["event_id"] for score in partition.scores] == ["e0", "e3"]
    assert (effects.position.events_offset, effects.position.labels_offset) == (4, 6)
    assert effects.events == {
        ("view_item", "scored"): 2, ("unknown", "not_json"): 1, ("unknown", "empty_value"): 1
    }  # fmt: skip
    assert effects.labels == {"rejected": 1}


def test_a_batch_of_dead_letters_alone_moves_the_position() -> None:
    partition = Partition()
    effects = partition.step([Record("events", 41, T0, None, b"x")])
    assert effects.position.events_offset == 42
    assert not effects.empty


def test_a_timer_batch_with_nothing_due_is_empty() -> None:
    partition = Partition()
    partition.step(crowd(0, 0))
    assert partition.compute([], [], idle_ms=5_000).empty


# ---- labels topic ---------------------------------------------------------------------------------------------------


def test_a_label_of_an_open_session_labels_the_events_up_to_its_time_and_no_later_one() -> None:
    # e0 (0) ─ e1 (1) ─ label 6 (2) arrives: e0 and e1 at once ─ e2 (3) ─ e3 (1.5), out of order ─ | gap
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0), event(1, "a", "add_to_cart", 1)])
    effects = partition.step(labels=[label(6, "a", 2, "o1")])
    bought = (1, "label")
    assert effects.labels == {"resolved": 1}
    assert partition.labels_of() == {"e0": bought, "e1": bought}
    assert [example["position"] for example in partition.examples] == [[0, 6, crc32(b"a") << 16 | n] for n in (0, 1)]
    assert [example["label_time"] for example in partition.examples] == [at(2), at(2)]
    assert [example["events_offset"] for example in partition.examples] == [1, 1]
    partition.step([event(2, "a", "page_view", 3), event(3, "a", "page_view", 1.5)])
    assert len(partition.examples) == 2
    partition.step([event(4, "a", "page_view", 60)])
    assert partition.labels_of() == {"e0": bought, "e1": bought, "e2": (0, "session_end"), "e3": bought}
    assert [example["position"][:2] for example in partition.examples[2:]] == [[1, 4]] * 2
    assert partition.closed[0]["labelled_checkouts"] == 1
    assert partition.visitor("a").marks == []


def test_labels_of_one_batch_teach_in_the_order_of_their_offsets() -> None:
    partition = Partition()
    partition.step([event(0, "b", "view_item", 0), event(1, "a", "view_item", 0), event(2, "a", "view_item", 2)])
    told = [label(4, "a", 1, "o1"), label(5, "b", 1, "o2"), label(9, "a", 3, "o3")]
    assert partition.step(labels=told).labels == {"resolved": 3}
    positions = [tuple(example["position"]) for example in partition.examples]
    assert [(example["event_id"], example["position"][1]) for example in partition.examples] == [
        ("e1", 4), ("e0", 5), ("e2", 9)
    ]  # fmt: skip
    assert positions == sorted(set(positions))


@pytest.mark.parametrize(
    ("sessions", "told"),
    [
        pytest.param(("s1", "s2"), None, id="a label without an id while two sessions are open"),
        pytest.param(("s1",), None, id="a label without an id and a session with one: another may open beside it"),
        pytest.param((None, "s1"), None, id="a session of each kind"),
        pytest.param(("s1",), "s2", id="a session that is yet to be seen"),
    ],
)
def test_a_label_that_could_yet_be_another_sessions_waits_for_the_sessions_end(
    sessions: tuple[str | None, ...], told: str | None
) -> None:
    partition = Partition()
    for n, session_id in enumerate(sessions):
        fields = {} if session_id is None else {"session_id": session_id}
        partition.step([event(n, "a", "view_item", n, **fields)])
    effects = partition.step(labels=[label(0, "a", 2, "o1", **({} if told is None else {"session_id": told}))])
    assert effects.labels == {"matched" if told is None else "early": 1}
    assert partition.examples == []
    partition.step([event(9, "a", "page_view", 100, session_id="s3")])
    newest = f"e{len(sessions) - 1}"
    assert partition.labels_of()[newest] == ((1, "label") if told is None else (0, "session_end"))


def test_a_label_right_after_a_purchase_waits_because_the_next_row_may_tell_that_it_is_its_order() -> None:
    # purchase o1 ─ label of o2 ─ purchase without an id: a further row of the same checkout, and close to the label
    partition = Partition()
    partition.step([event(0, "a", "purchase", 0, order_id="o1")])
    assert partition.step(labels=[label(0, "a", 1, "o2")]).labels == {"matched": 1}
    partition.step([event(1, "a", "purchase", 0.5), event(2, "a", "page_view", 60)])
    assert partition.labels_of() == {"e0": (0, "session_end"), "e1": (0, "session_end")}


def test_of_an_order_told_with_two_times_the_later_time_counts() -> None:
    partition = Partition()
    partition.step(labels=[label(0, "a", 5, "o1"), label(1, "a", 3, "o1")])
    partition.step([event(n, "a", "view_item", minutes) for n, minutes in enumerate((2, 4, 6, 60))])
    bought = (1, "label")
    assert partition.labels_of() == {"e0": bought, "e1": bought, "e2": (0, "session_end")}
    assert partition.closed[0]["labelled_checkouts"] == 1


def test_a_label_that_names_a_session_is_that_sessions_whatever_the_purchases_of_another_say() -> None:
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0, session_id="s1")])
    partition.step([event(1, "a", "purchase", 1, session_id="s2", order_id="o1")])
    assert partition.step(labels=[label(0, "a", 1, "o1", session_id="s1")]).labels == {"resolved": 1}
    assert partition.labels_of() == {"e0": (1, "label")}


def test_a_refund_corrects_what_was_learned_at_once_and_ends_the_checkout_for_what_comes_after() -> None:
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0)])
    partition.step(labels=[label(0, "a", 5, "o1")])
    assert partition.step(labels=[label(1, "a", 6, "o1", kind="refund")]).labels == {"corrected": 1}
    partition.step([event(1, "a", "view_item", 4), event(2, "a", "page_view", 60)])
    assert partition.labels_of() == {"e0": (0, "label"), "e1": (0, "session_end")}
    assert partition.closed[0]["labelled_checkouts"] == 0


def test_a_label_changes_no_feature() -> None:
    stream = [event(n, "a", "view_item", n, item_id=f"i{n}") for n in range(4)]
    plain, labelled = Partition(), Partition()
    plain.step(stream)
    labelled.step(stream[:2])
    labelled.step(labels=[label(0, "a", 1.5, "o1")])
    labelled.step(stream[2:])
    assert labelled.features == plain.features


def test_what_was_touched_after_a_labels_time_is_not_told_with_it() -> None:
    # e0 i1 ─ label ─ e1 i2: the label comes after e1
    partition = Partition()
    partition.step(
        [
            event(0, "a", "view_item", 0, item_id="i1", category="c1"),
            event(1, "a", "search", 2, item_id="i2", brand="b2"),
        ]
    )
    partition.step(labels=[label(0, "a", 1, "o1")])
    partition.step([event(2, "a", "page_view", 60)])
    bought, left = [example["touched"] for example in partition.examples]
    assert bought == {"items": ["i1"], "categories": ["c1"], "steps": [6], "transitions": [124, 1]}
    # From an item (3) to a search (1): 3 × 11 + 1.
    assert left == {"items": ["i2"], "brands": ["b2"], "steps": [2], "transitions": [34, 1]}


def test_a_brand_first_seen_after_a_label_is_told_with_the_next_outcome() -> None:
    partition = Partition()
    first = event(0, "a", "view_item", 0, item_id="i1")
    second = event(1, "a", "view_item", 1, item_id="i1")
    partition.step([first, second], [])
    partition.step(labels=[label(0, "a", 1, "o1")])
    partition.step([event(2, "a", "view_item", 2, item_id="i1", brand="b"), event(3, "a", "page_view", 60)])
    assert partition.examples[-1]["event_id"] == "e2"
    assert partition.examples[-1]["touched"] == {"brands": ["b"], "transitions": [36, 1]}


@pytest.mark.parametrize("order_id", ["o1", None])
def test_a_label_of_a_purchase_that_was_seen_is_a_duplicate(order_id: str | None) -> None:
    partition = Partition()
    order = {} if order_id is None else {"order_id": order_id}
    partition.step([event(0, "a", "view_item", 0), event(1, "a", "purchase", 1, **order), event(2, "a", "like", 2)])
    assert partition.step(labels=[label(0, "a", 1.5, "o1")]).labels == {"duplicate": 1}
    partition.step([event(3, "a", "page_view", 60)])
    assert partition.labels_of() == {"e0": (1, "purchase"), "e1": (0, "session_end"), "e2": (0, "session_end")}


@pytest.mark.parametrize("order_id", ["o1", None])
def test_a_purchase_of_an_order_that_was_told_ahead_is_one_checkout(order_id: str | None) -> None:
    # e0 ─ label o1 (minute 1.5) arrives ─ e1 purchase o1 (minute 1) ─ e2 at minute 1.2, before the label's time
    partition = Partition()
    order = {} if order_id is None else {"order_id": order_id}
    partition.step([event(0, "a", "view_item", 0)])
    partition.step(labels=[label(0, "a", 1.5, "o1")])
    partition.step([event(1, "a", "purchase", 1, **order), event(2, "a", "page_view", 1.2)])
    partition.step([event(3, "a", "page_view", 60)])
    assert partition.labels_of() == {"e0": (1, "label"), "e1": (0, "session_end"), "e2": (0, "session_end")}
    assert (partition.closed[0]["purchases"], partition.closed[0]["labelled_checkouts"]) == (1, 0)
    assert partition.visitor("a").marks == []


def test_a_label_repeated_is_a_duplicate() -> None:
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0)])
    partition.step(labels=[label(0, "a", 1, "o1")])
    assert partition.step(labels=[label(1, "a", 1, "o1")]).labels == {"duplicate": 1}


def test_a_label_ahead_of_its_events_labels_them_as_one_sampled_episode() -> None:
    # The label of minute 5 comes first; then 100 events of minutes 0 … 4.95, one of minute 6, then the end.
    partition = Partition()
    assert partition.step(labels=[label(0, "a", 5, "o1")]).labels == {"early": 1}
    partition.step([event(n, "a", "view_item", n / 20, item_id="i") for n in range(100)])
    partition.step([event(100, "a", "page_view", 6)])
    assert partition.examples == []
    partition.step([event(101, "a", "page_view", 60)])
    assert len(partition.examples) <= RULES.reservoir_size
    for example in partition.examples:
        bought = example["event_time"] <= at(5)
        assert (example["label"], example["label_source"]) == ((1, "label") if bought else (0, "session_end"))
    assert partition.closed[0]["labelled_checkouts"] == 1
    assert sum(example["touched"] is not None and example["label"] == 1 for example in partition.examples) == 1


def test_an_early_label_of_another_session_id_labels_nothing() -> None:
    partition = Partition()
    partition.step(labels=[label(0, "a", 5, "o1", session_id="other")])
    partition.step([event(0, "a", "view_item", 4, session_id="mine"), event(1, "a", "page_view", 60)])
    assert partition.labels_of() == {"e0": (0, "session_end")}


def test_one_order_is_one_sessions() -> None:
    # Two sessions at once; a label without a session id is the newest's, also when the other ends later.
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0, session_id="s1"), event(1, "a", "view_item", 1, session_id="s2")])
    partition.step(labels=[label(0, "a", 2, "o1")])
    partition.step([event(2, "a", "page_view", 100, session_id="s3")])
    assert partition.labels_of() == {"e1": (1, "label"), "e0": (0, "session_end")}
    told = {closed["session_id"]: closed["labelled_checkouts"] for closed in partition.closed}
    assert told == {"s1": 0, "s2": 1}


def test_a_label_with_a_session_id_is_that_sessions() -> None:
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0, session_id="s1"), event(1, "a", "view_item", 1, session_id="s2")])
    partition.step(labels=[label(0, "a", 2, "o1", session_id="s1")])
    partition.step([event(2, "a", "page_view", 100, session_id="s3")])
    assert partition.labels_of() == {"e0": (1, "label"), "e1": (0, "session_end")}


def test_a_refund_takes_back_a_checkout_that_was_told_early() -> None:
    partition = Partition()
    partition.step(labels=[label(0, "a", 5, "o1")])
    assert partition.step(labels=[label(1, "a", 6, "o1", kind="refund")]).labels == {"taken_back": 1}
    partition.step([event(0, "a", "view_item", 4), event(1, "a", "page_view", 60)])
    assert partition.labels_of() == {"e0": (0, "session_end")}


@pytest.mark.parametrize("kind", ["refund", "cancel"])
def test_taking_back_an_unknown_order_is_counted_and_changes_no_outcome(kind: str) -> None:
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0)])
    assert partition.step(labels=[label(0, "a", 1, "o9", kind=kind)]).labels == {kind: 1}
    assert partition.examples == []


def test_a_label_of_a_session_that_is_not_remembered_is_unmatched() -> None:
    # e0 ends at minute 30 and is remembered for a day more.
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0), *crowd(1, 200)])
    partition.step(crowd(4, 31 + 24 * 60))
    assert partition.step(labels=[label(0, "a", 1, "o1")]).labels == {"unmatched": 1}
    assert partition.labels_of()["e0"] == (0, "session_end")


def test_marks_give_no_deadline_and_newer_ones_push_the_oldest_out() -> None:
    partition = Partition()
    partition.step(crowd(0, 0))
    minutes = [50, 7, *range(10, 10 + state.MARKS_MAX - 1)]
    partition.step(labels=[label(n, "a", minute, f"o{n}") for n, minute in enumerate(minutes)])
    assert "a" not in partition.deadlines
    assert partition.compute([], [], idle_ms=20 * MINUTE).empty
    # One too many: o1, of minute 7, although o0 came before it.
    assert [mark.order_id for mark in partition.visitor("a").marks] == ["o0", *(f"o{n}" for n in range(2, 9))]


def test_a_checkout_told_while_two_sessions_are_open_is_the_newest_ones_whichever_ends_first() -> None:
    partition = Partition()
    partition.step(labels=[label(0, "a", 2, "o1")])
    partition.step([event(0, "a", "view_item", 0, session_id="s1"), event(1, "a", "view_item", 1, session_id="s2")])
    partition.step([event(2, "a", "page_view", 100, session_id="s3")])
    assert partition.labels_of() == {"e0": (0, "session_end"), "e1": (1, "label")}


def test_a_label_between_two_rows_of_an_order_changes_no_feature() -> None:
    # purchase o1 ─ label of o2 ─ purchase o2 right after: a checkout of its own, with and without the label
    rows = [event(0, "a", "purchase", 0, order_id="o1"), event(1, "a", "purchase", 1, order_id="o2")]
    plain, told = Partition(), Partition()
    plain.step(rows)
    told.step(rows[:1])
    told.step(rows[1:], [label(0, "a", 1, "o2")])
    assert told.features == plain.features
    assert told.visitor("a").sessions[0].purchases == 2


def test_a_label_at_or_below_the_applied_offset_is_known() -> None:
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0)])
    partition.step(labels=[label(4, "a", 1, "o1")])
    partition.processor.position = Position(events_offset=1, labels_offset=4)
    assert partition.step(labels=[label(4, "a", 1, "o1")]).labels == {"replayed": 1}
    assert len(partition.visitor("a").marks) == 1


# ---- time -----------------------------------------------------------------------------------------------------------


def test_a_session_is_over_exactly_when_the_watermark_reaches_its_deadline() -> None:
    # a: minute 0, deadline 30. The watermark trails by 1 minute: 31 − 1 ms is not enough, 31 is.
    for late_ms, closed in ((1, 0), (0, 1)):
        partition = Partition()
        partition.step([event(0, "a", "view_item", 0), *crowd(1, 29)])
        partition.step([event(4, "x", "page_view", 31 - late_ms / MINUTE)])
        assert len(partition.closed) == closed, late_ms
        assert ("a" in partition.deadlines) == (not closed)


def test_a_session_opened_and_over_in_one_batch_ends_in_it() -> None:
    partition = Partition()
    effects = partition.step([*crowd(0, 0), event(3, "a", "view_item", 0), *crowd(4, 25), *crowd(7, 50)])
    assert [closed["visitor_id"] for closed in partition.closed] == ["a"]
    # e7 (minute 50) is the first whose watermark, 49, has passed the deadline, 30.
    assert [example["position"][:2] for example in partition.examples] == [[1, 7]]
    assert effects.sessions_closed == 1


def test_sessions_of_an_idle_partition_end_by_the_clock_in_the_order_of_their_deadlines() -> None:
    partition = Partition()
    partition.step(crowd(0, 0))
    partition.step([event(3, "x", "page_view", 5)])
    partition.step(idle_ms=30 * MINUTE)  # newest 5 → 35, watermark 34: y and z (30) are over, x (35) is not
    assert sorted(closed["visitor_id"] for closed in partition.closed) == ["y", "z"]
    partition.step(idle_ms=1 * MINUTE)
    assert [closed["visitor_id"] for closed in partition.closed][2:] == ["x"]
    assert [example["position"][:2] for example in partition.examples] == [
        [2, at(30)], [2, at(30)], [2, at(35)], [2, at(35)]
    ]  # fmt: skip


def test_a_phone_that_lives_in_tomorrow_ends_nobodys_session() -> None:
    partition = Partition()
    ahead = [event(3 + n, "phone", "page_view", 600 + n, received=0) for n in range(10)]
    effects = partition.step([*crowd(0, 0), *ahead])
    assert effects.ahead == 10
    assert partition.closed == []
    assert partition.processor.watermark_time == T0 - GRACE


def test_more_due_visitors_than_fit_in_a_batch_end_in_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "DUE_VISITORS_MAX", 5)
    partition = Partition()
    # 30 visitors at minutes 0 … 29 and a later event of every third, so that their deadlines moved.
    partition.step([event(n, f"v{n}", "view_item", n) for n in range(30)])
    partition.step([event(30 + n, f"v{n}", "view_item", 29) for n in range(0, 30, 3)])
    assert partition.step(idle_ms=DAY).more_due
    assert len(partition.closed) == 30
    positions = [tuple(example["position"]) for example in partition.examples if example["position"][0] == 2]
    assert positions == sorted(set(positions))
    assert len(partition.examples) == 40


def test_too_many_visitors_with_one_deadline_end_in_several_batches_in_the_order_of_their_positions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processor, "DUE_VISITORS_MAX", 3)
    partition = Partition()
    partition.step([event(n, f"v{n}", "view_item", 0) for n in range(10)])
    effects = partition.compute([], [], idle_ms=DAY)
    assert (effects.sessions_closed, effects.more_due) == (3, True)
    partition.step(idle_ms=DAY)
    assert len(partition.closed) == 10
    positions = [tuple(example["position"]) for example in partition.examples]
    assert positions == sorted(set(positions))


# ---- plan, memory, position -----------------------------------------------------------------------------------------


def test_a_plan_names_the_states_it_needs_and_those_that_must_exist() -> None:
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0)])
    partition.restart()
    plan = partition.processor.plan([event(1, "a", "view_item", 1), event(2, "new", "view_item", 1)], [])
    assert plan.missing == ["a", "new"]
    assert plan.expected == ["a"]


def test_planning_and_applying_leave_no_trace_until_committed() -> None:
    partition = Partition()
    partition.step([*crowd(0, 0), event(3, "a", "view_item", 0)])
    before = (partition.processor.position, dict(partition.states), partition.processor.schedule.get("a"))
    stream = [event(4, "a", "purchase", 1), *crowd(5, 20), *crowd(8, 45)]
    first = partition.compute(stream, [label(0, "a", 1, "o")])
    assert (partition.processor.position, partition.states, partition.processor.schedule.get("a")) == before
    second = partition.compute(stream, [label(0, "a", 1, "o")])
    assert (first.scores, first.examples, first.closed) == (second.scores, second.examples, second.closed)
    assert first.states == second.states


def test_a_full_cache_gives_up_no_state_that_the_batch_needs() -> None:
    # The cache holds one visitor, a; the next batch needs a (at hand) and b (loaded, which pushes a out).
    small = Partition(rules=processor.Rules(**{**_fields(RULES), "cache_visitors_max": 1}))
    large = Partition()
    for partition in (small, large):
        partition.step([event(0, "a", "view_item", 0)])
        partition.step([event(1, "b", "view_item", 1), event(2, "a", "view_item", 1), event(3, "c", "view_item", 1)])
        partition.step([event(4, "a", "view_item", 2), event(5, "b", "purchase", 2)])
    assert small.scores == large.scores
    assert small.states == large.states
    assert len(small.processor.cache) == 1


def _fields(rules: processor.Rules) -> dict[str, Any]:
    return {name: getattr(rules, name) for name in rules.__dataclass_fields__}


def test_a_visitors_last_score_is_kept_for_whoever_asks() -> None:
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0), event(1, "a", "view_item", 1)])
    last = partition.visitor("a").last_score
    assert last is not None
    assert (last.event_id, last.event_time, last.score, last.band) == ("e1", at(1), 0.125, "on_the_fence")


def test_a_position_survives_its_encoding_and_fits_commit_metadata() -> None:
    partition = Partition()
    partition.step([*crowd(0, 0), event(3, "ж" * 256, "page_view", 500)])
    encoded = encode_position(partition.position)
    assert decode_position(encoded) == partition.position
    assert len(encoded) < 4096


@pytest.mark.parametrize("data", [None, b"", b"metadata of someone else", b'{"seq":"x"}', b'{"version":99}'])
def test_metadata_that_is_no_position_of_ours_is_none(data: bytes | None) -> None:
    assert decode_position(data) is None


def test_seq_moves_with_every_batch_that_is_committed() -> None:
    partition = Partition()
    partition.step(crowd(0, 0))
    partition.step(idle_ms=DAY)
    assert partition.position.seq == 2
    assert json.loads(encode_position(partition.position))["seq"] == 2


def test_the_features_of_an_example_have_the_registered_type() -> None:
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0), event(1, "a", "purchase", 1)])
    assert tuple(partition.examples[0]["features"]) == FeatureValues.__struct_fields__


def test_an_event_that_many_sessions_end_at_leaves_them_all_to_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    # Were the first few ended at the event, a batch carried out again would end the next few there, and a trainer that
    # drops what is not beyond the last position would not learn them.
    monkeypatch.setattr(processor, "DUE_VISITORS_MAX", 3)
    crowd = [event(n, f"v{n}", "view_item", n / 100) for n in range(12)]
    later = [event(12 + n, visitor, "view_item", 60 + n) for n, visitor in enumerate("xabc")]
    partition = Partition()
    partition.step(crowd)
    done = partition.compute(later, [])
    partition.emit(done)
    partition.store(done.states)  # in the changelog; then the crash, before the offsets
    partition.restart()
    partition.step(later)
    learned: list[str] = []
    last: dict[int, tuple[int, int]] = {}
    for example in partition.examples:
        kind, trigger, n = example["position"]
        if (trigger, n) > last.get(kind, (-1, -1)):
            last[kind] = trigger, n
            learned.append(example["event_id"])
    assert sorted(learned) == sorted({example["event_id"] for example in partition.examples})
    assert len(learned) >= 12
