"""Labels and events commute: what becomes of an event does not depend on how the two topics were interleaved.

Random events and labels of few visitors, interleaved in two ways and cut into batches, as long as each label comes
before the end of the sessions it could belong to: here all labels come while nothing is over. The streams have ids and
none, several sessions at once, times out of order, orders told by purchases and labels both, by several labels and with
two times, refunds, and more events than the reservoir holds.
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


@st.composite
def events(draw: st.DrawFn) -> list[Record]:
    found = []
    for offset in range(draw(st.integers(1, 30))):
        kind = draw(st.sampled_from(KINDS))
        fields: dict[str, Any] = {
            "session_id": draw(st.sampled_from((None, "s1", "s2"))),
            "item_id": draw(st.sampled_from(("i1", "i2", "i3"))),
        }
        if kind == "purchase":
            fields["order_id"] = draw(st.sampled_from((None, "o1", "o2")))
        given_fields = {name: value for name, value in fields.items() if value is not None}
        found.append(event(offset, draw(st.sampled_from("ab")), kind, draw(TIMES), **given_fields))
    return found


@st.composite
def labels(draw: st.DrawFn) -> list[Record]:
    found = []
    for offset in range(draw(st.integers(1, state.MARKS_MAX))):
        fields: dict[str, Any] = {"kind": draw(st.sampled_from(("checkout", "checkout", "checkout", "refund")))}
        session_id = draw(st.sampled_from((None, None, "s1", "s2")))
        if session_id is not None:
            fields["session_id"] = session_id
        order_id = draw(st.sampled_from(("o1", "o2", "o3", "o4")))
        found.append(label(offset, draw(st.sampled_from("ab")), draw(st.integers(-5, 60)), order_id, **fields))
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


@settings(max_examples=400, deadline=None)
@given(stream=events(), told=labels(), one=PLACES, other=PLACES, cuts=CUTS, others=CUTS)
def test_what_becomes_of_an_event_does_not_depend_on_when_a_label_came_before_its_sessions_end(
    stream: list[Record], told: list[Record], one: list[int], other: list[int], cuts: list[bool], others: list[bool]
) -> None:
    first, second = run(stream, told, one, cuts), run(stream, told, other, others)
    assert first.features == second.features
    assert first.scores == second.scores
    # The whole example: label, source and time of its checkout, the weight of its sample, features, score, position.
    assert sorted(first.examples, key=_place) == sorted(second.examples, key=_place)
    assert sorted(first.closed, key=_session) == sorted(second.closed, key=_session)
    assert first.states == second.states
    note(f"sources {sorted({example['label_source'] for example in first.examples})}")


@settings(max_examples=200, deadline=None)
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
    sampled = {(example["event_id"], example["weight"]) for example in labelled.examples}
    assert sampled == {(example["event_id"], example["weight"]) for example in plain.examples}


def _place(example: dict[str, Any]) -> Any:
    return example["position"]


def _session(closed: dict[str, Any]) -> Any:
    return closed["visitor_id"], closed["session_id"]
