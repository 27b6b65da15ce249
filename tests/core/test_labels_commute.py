"""Labels and events commute, but for when something is learned.

Random events and labels of few visitors, interleaved in two ways and cut into batches, as long as each label comes
before the end of the sessions it could belong to: here all labels come while nothing is over. The streams have ids and
none, several sessions at once, times out of order, orders told by purchases and labels both, by several labels and with
two times, refunds, and more events than the reservoir holds.

Features, scores and closed sessions never depend on the interleaving. A label that can only be one session's teaches at
once: which events of a long episode are sampled then, with which weight and at which position, does; the label of an
event does not. Where no label can teach at once, nothing does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core import state
from tests.core.streams import DAY, HashScorer, Partition, Record, event, label

KINDS = ("view_item", "view_item", "view_item", "add_to_cart", "purchase", "search")
#: Minutes: within one gap of each other, so that nothing is over before the last record.
TIMES = st.integers(0, 28)


#: The session ids of a visitor's events: none, always, or some with and some without.
IDS: dict[str, tuple[str | None, ...]] = {"a": (None,), "b": ("s1", "s2"), "c": (None, "s1", "s2")}


@st.composite
def events(draw: st.DrawFn, visitors: str = "abc") -> list[Record]:
    found = []
    for offset in range(draw(st.integers(1, 30))):
        kind, visitor = draw(st.sampled_from(KINDS)), draw(st.sampled_from(visitors))
        fields: dict[str, Any] = {
            "session_id": draw(st.sampled_from(IDS[visitor])),
            "item_id": draw(st.sampled_from(("i1", "i2", "i3"))),
        }
        if kind == "purchase":
            fields["order_id"] = draw(st.sampled_from((None, "o1", "o2")))
        given_fields = {name: value for name, value in fields.items() if value is not None}
        found.append(event(offset, visitor, kind, draw(TIMES), **given_fields))
    return found


@st.composite
def labels(
    draw: st.DrawFn,
    visitors: str = "abc",
    kinds: Sequence[str] = ("checkout", "checkout", "checkout", "refund"),
    named: Sequence[str | None] = (None, None, "s1", "s2"),
) -> list[Record]:
    found = []
    for offset in range(draw(st.integers(1, state.MARKS_MAX))):
        fields: dict[str, Any] = {"kind": draw(st.sampled_from(kinds))}
        session_id = draw(st.sampled_from(named))
        if session_id is not None:
            fields["session_id"] = session_id
        order_id = draw(st.sampled_from(("o1", "o2", "o3", "o4")))
        found.append(label(offset, draw(st.sampled_from(visitors)), draw(st.integers(-5, 60)), order_id, **fields))
    return found


def run(stream: Sequence[Record], told: Sequence[Record], after: Sequence[int], cuts: Sequence[bool]) -> Partition:
    """Label n comes after as many events as `after[n]` says; cut before each event whose flag is set."""
    partition = Partition(scorer=HashScorer())
    places = sorted(min(place, len(stream)) for place in after[: len(told)])
    waiting: list[Record] = []
    for n, record in enumerate(stream):
        here = [told[m] for m, place in enumerate(places) if place == n]
        if waiting and (here or cuts[n % len(cuts)]):
            partition.step(waiting)
            waiting = []
        if here:
            partition.step(labels=here)
        waiting.append(record)
    partition.step(waiting, [])
    partition.step(labels=[told[m] for m, place in enumerate(places) if place == len(stream)])
    partition.step(idle_ms=3 * DAY)
    return partition


PLACES = st.lists(st.integers(0, 30), min_size=state.MARKS_MAX, max_size=state.MARKS_MAX)
CUTS = st.lists(st.booleans(), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(stream=events(), told=labels(), one=PLACES, other=PLACES, cuts=CUTS, others=CUTS)
def test_features_scores_and_sessions_do_not_depend_on_when_a_label_came_and_no_event_is_learned_twice(
    stream: list[Record], told: list[Record], one: list[int], other: list[int], cuts: list[bool], others: list[bool]
) -> None:
    first, second = run(stream, told, one, cuts), run(stream, told, other, others)
    assert first.features == second.features
    assert first.scores == second.scores
    assert sorted(first.closed, key=_session) == sorted(second.closed, key=_session)
    assert _but_for_what_was_taught(first) == _but_for_what_was_taught(second)
    for partition in (first, second):
        partition.labels_of()  # no event has two
        positions = [tuple(example["position"]) for example in partition.examples if example["position"][0] == 0]
        assert positions == sorted(set(positions))
    note(f"at once {any(example['position'][0] == 0 for example in first.examples)}")


@settings(max_examples=90, deadline=None)
@given(stream=events("ab"), told=labels("ab", ["checkout"]), one=PLACES, other=PLACES, cuts=CUTS, others=CUTS)
def test_whether_an_event_led_to_a_checkout_does_not_depend_on_when_a_label_came(
    stream: list[Record], told: list[Record], one: list[int], other: list[int], cuts: list[bool], others: list[bool]
) -> None:
    # Not of visitors who send events with and without session ids at one time, and not for a checkout that a refund
    # takes back: a purchase that the same order made is taught whether the refund came before it or not.
    first, second = run(stream, told, one, cuts).labels_of(), run(stream, told, other, others).labels_of()
    both = set(first) & set(second)
    assert {event_id: first[event_id][0] for event_id in both} == {event_id: second[event_id][0] for event_id in both}
    note(f"sources differ {any(first[event_id] != second[event_id] for event_id in both)}")


@settings(max_examples=70, deadline=None)
@given(
    stream=events("b"),
    told=labels("b", ["checkout"], [None, "another"]),
    one=PLACES,
    other=PLACES,
    cuts=CUTS,
    others=CUTS,
)
def test_examples_do_not_depend_on_when_labels_came_that_could_be_several_sessions(
    stream: list[Record], told: list[Record], one: list[int], other: list[int], cuts: list[bool], others: list[bool]
) -> None:
    first, second = run(stream, told, one, cuts), run(stream, told, other, others)
    # The whole example: label, source and time of its checkout, the weight of its sample, features, score, position.
    assert sorted(first.examples, key=_place) == sorted(second.examples, key=_place)
    plain = run(stream, [], [], cuts)
    assert set(first.labels_of()) == set(plain.labels_of())
    note(f"sources {sorted({example['label_source'] for example in first.examples})}")


@settings(max_examples=60, deadline=None)
@given(stream=events(), told=labels(), places=PLACES, cuts=CUTS)
def test_labels_change_no_feature_no_score_and_no_session(
    stream: list[Record], told: list[Record], places: list[int], cuts: list[bool]
) -> None:
    plain, labelled = run(stream, [], [], cuts), run(stream, told, places, cuts)
    assert labelled.features == plain.features
    assert labelled.scores == plain.scores
    without = ("labelled_checkouts", "labels_offset")
    assert [{**closed, **dict.fromkeys(without)} for closed in sorted(labelled.closed, key=_session)] == [
        {**closed, **dict.fromkeys(without)} for closed in sorted(plain.closed, key=_session)
    ]


def _but_for_what_was_taught(partition: Partition) -> dict[str, bytes]:
    """The states. In how many parts an episode was told, with which samples, is what depends on it."""
    found = {}
    for visitor_id in partition.states:
        visitor = partition.visitor(visitor_id)
        visitor.taught = []
        found[visitor_id] = state.encode(visitor)
    return found


def _place(example: dict[str, Any]) -> Any:
    return example["position"]


def _session(closed: dict[str, Any]) -> Any:
    return closed["visitor_id"], closed["session_id"]
