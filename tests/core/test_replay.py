"""Wherever a log is cut into batches, and wherever a crash falls, the same comes out.

Random streams of few visitors, with events out of order, pauses past the gap, repetitions and offsets that skip (a
compacted or transactional log), go through a partition whole and cut; through crashes that lose a batch's effects; and
through crashes between writing some visitors' states and the position, as `at_least_once` allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.streams import DAY, MINUTE, RULES, ConstantScorer, HashScorer, Partition, Record, event, label

#: Minutes from one event to the next in the log: a click, out of order, near the gap with and without the grace, a
#: pause past it, a phone that was offline, a clock that is wrong.
STEPS = (0, 0, 0.1, 0.1, 1, 2, 5, 10, -1, -5, -20, 29, 30, 31, 33, 61, -61, 500, -500)
KINDS = ("view_item", "view_item", "add_to_cart", "purchase", "purchase", "search", "remove_from_cart", "refund")


class Segment(NamedTuple):
    """Labels, then the events after them: labels lie between events, and no cut moves them."""

    labels: list[Record]
    events: list[Record]


@st.composite
def segments(draw: st.DrawFn, *, with_labels: bool = True) -> list[Segment]:
    found: list[Segment] = []
    offset, label_offset, minutes = 0, 0, 0.0
    # Live, the broker's clock stands where the newest honest event does; in a replay it stands still, long after.
    clock, is_live = 0.0, draw(st.booleans())
    for _ in range(draw(st.integers(1, 3))):
        labels: list[Record] = []
        events: list[Record] = []
        if with_labels:
            for _ in range(draw(st.integers(0, 2))):
                told_at = minutes + draw(st.sampled_from((-20, -1, 1, 20, 90)))
                kind = draw(st.sampled_from(("checkout", "checkout", "checkout", "refund")))
                order_id = draw(st.sampled_from(("o1", "o2", "o3")))
                labels.append(label(label_offset, draw(st.sampled_from("abc")), told_at, order_id, kind=kind))
                label_offset += 1
        for _ in range(draw(st.integers(2, 14))):
            if events and draw(st.integers(0, 7)) == 0:
                events.append(draw(st.sampled_from(events))._replace(offset=offset))
            else:
                step = draw(st.sampled_from(STEPS))
                minutes += step
                clock = max(clock, minutes if step < 100 else clock) if is_live else 300 * DAY / MINUTE
                fields: dict[str, Any] = {
                    "session_id": draw(st.sampled_from((None, None, "s1", "s2"))),
                    "item_id": draw(st.sampled_from((None, "i1", "i2"))),
                    "price": draw(st.sampled_from((None, 9.99))),
                }
                kind = draw(st.sampled_from(KINDS))
                if kind == "purchase":
                    fields["order_id"] = draw(st.sampled_from((None, "o1", "o2")))
                given_fields = {name: value for name, value in fields.items() if value is not None}
                visitor = draw(st.sampled_from("abcd"))
                events.append(event(offset, visitor, kind, minutes, received=clock, **given_fields))
            offset += draw(st.sampled_from((1, 1, 1, 2)))
        found.append(Segment(labels, events))
    return found


def batches(segment: Segment, cuts: Sequence[bool]) -> list[tuple[list[Record], list[Record]]]:
    """The segment's batches of (labels, events), cut before each event whose flag is set."""
    found: list[tuple[list[Record], list[Record]]] = [(segment.labels, [])]
    for n, record in enumerate(segment.events):
        if n and cuts[n % len(cuts)]:
            found.append(([], []))
        found[-1][1].append(record)
    return found


def undisturbed(stream: list[Segment], scorer: Any) -> Partition:
    partition = Partition(scorer=scorer)
    for segment in stream:
        partition.step(segment.events, segment.labels)
    return partition


def check_same(one: Partition, other: Partition) -> None:
    assert one.features == other.features
    assert one.scores == other.scores
    assert by_position(one.examples) == by_position(other.examples)
    assert sorted(one.closed, key=repr) == sorted(other.closed, key=repr)
    assert by_visitor(one.moments) == by_visitor(other.moments)
    assert one.states == other.states
    assert one.position.watermark == other.position.watermark


def by_position(examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(examples, key=lambda example: example["position"])


def by_visitor(moments: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Each visitor's in their order; visitors have none among them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for moment in moments:
        found.setdefault(moment["visitor_id"], []).append(moment)
    return found


def check_positions_grow(examples: list[dict[str, Any]]) -> None:
    for kind in (0, 1, 2):
        positions = [tuple(example["position"]) for example in examples if example["position"][0] == kind]
        assert positions == sorted(set(positions))


def learned(examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the trainer learns: no position at or before the last one of its kind."""
    last: dict[int, tuple[int, ...]] = {}
    found = []
    for example in examples:
        kind, *place = example["position"]
        if tuple(place) > last.get(kind, ()):
            last[kind] = tuple(place)
            found.append(example)
    return found


CUTS = st.lists(st.booleans(), min_size=1, max_size=9)


@settings(max_examples=50, deadline=None)
@given(stream=segments(), cuts=CUTS, hashed=st.booleans())
def test_any_way_of_cutting_a_stream_into_batches_gives_the_same(
    stream: list[Segment], cuts: list[bool], hashed: bool
) -> None:
    scorer = HashScorer() if hashed else ConstantScorer()
    whole = undisturbed(stream, scorer)
    cut = Partition(scorer=scorer)
    for segment in stream:
        for labels, events in batches(segment, cuts):
            cut.step(events, labels)
    check_same(whole, cut)
    check_positions_grow(whole.examples)
    check_positions_grow(cut.examples)
    note(f"labels {sorted({e['label_source'] for e in whole.examples})}")
    note(f"moments {sorted({moment['kind'] for moment in whole.moments})}")
    for partition in (whole, cut):
        partition.step(idle_ms=3 * DAY)
    check_same(whole, cut)
    check_positions_grow(cut.examples)


@settings(max_examples=40, deadline=None)
@given(stream=segments(), cuts=CUTS)
def test_evicting_and_reloading_states_and_restarting_between_batches_changes_nothing(
    stream: list[Segment], cuts: list[bool]
) -> None:
    whole = undisturbed(stream, HashScorer())
    fields = {name: getattr(RULES, name) for name in RULES.__dataclass_fields__}
    restarted = Partition(rules=type(RULES)(**{**fields, "cache_visitors_max": 1}), scorer=HashScorer())
    for segment in stream:
        for n, (labels, events) in enumerate(batches(segment, cuts)):
            restarted.step(events, labels)
            if n % 2:
                restarted.restart()
    check_same(whole, restarted)


@settings(max_examples=50, deadline=None)
@given(stream=segments(), cuts=CUTS, again=CUTS, crashes=CUTS)
def test_a_batch_whose_effects_were_lost_is_done_again_the_same(
    stream: list[Segment], cuts: list[bool], again: list[bool], crashes: list[bool]
) -> None:
    # Nothing of the batch was written; after the restart the rest of the segment may be cut in another way.
    whole = undisturbed(stream, HashScorer())
    crashed = Partition(scorer=HashScorer())
    for segment in stream:
        for n, (labels, events) in enumerate(batches(segment, cuts)):
            if not crashes[n % len(crashes)]:
                crashed.step(events, labels)
                continue
            crashed.compute(events, labels)
            crashed.restart()
            for some_labels, some_events in batches(Segment(labels, events), again):
                crashed.step(some_events, some_labels)
    check_same(whole, crashed)


@settings(max_examples=50, deadline=None)
@given(
    stream=segments(),
    cuts=CUTS,
    again=CUTS,
    crashes=CUTS,
    written=st.sets(st.sampled_from("abcd")),
    idle=st.booleans(),
)
def test_states_newer_than_the_position_are_not_folded_again_and_every_example_is_learned_once(
    stream: list[Segment], cuts: list[bool], again: list[bool], crashes: list[bool], written: set[str], idle: bool
) -> None:
    # Outputs acknowledged ─ some visitors' states acknowledged ─ crash ─ the position is the old one: the batch again.
    whole = undisturbed(stream, HashScorer())
    crashed = Partition(scorer=HashScorer())
    for segment in stream:
        for n, (labels, events) in enumerate(batches(segment, cuts)):
            if crashes[n % len(crashes)]:
                effects = crashed.compute(events, labels)
                crashed.emit(effects)
                crashed.store({visitor: blob for visitor, blob in effects.states.items() if visitor in written})
                crashed.restart()
                for some_labels, some_events in batches(Segment(labels, events), again):
                    crashed.step(some_events, some_labels)
            else:
                crashed.step(events, labels)
    assert crashed.states == whole.states
    if idle:
        # The same for what the clock ends: written, partly stored, done again, and a last session after it.
        whole.step(idle_ms=DAY)
        effects = crashed.compute([], [], DAY)
        crashed.emit(effects)
        crashed.store({visitor: blob for visitor, blob in effects.states.items() if visitor in written})
        crashed.restart()
        crashed.step(idle_ms=DAY)
    for partition in (whole, crashed):
        partition.step(idle_ms=3 * DAY)
    assert crashed.states == whole.states
    assert by_position(learned(crashed.examples)) == by_position(whole.examples)
    for repeated, once in ((crashed.scores, whole.scores), (crashed.features, whole.features)):
        assert {record["event_id"]: record for record in repeated} == {record["event_id"]: record for record in once}
    for repeated, once in ((crashed.closed, whole.closed), (crashed.moments, whole.moments)):
        assert {repr(record) for record in repeated} == {repr(record) for record in once}
