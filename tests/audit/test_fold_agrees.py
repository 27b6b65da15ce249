"""The reference fold and the engine agree on random streams, however they are cut, idled, crashed and repeated.

Two programs that share only the definitions come to the same records, states and positions: each is a test of the
other. What the engine writes twice under `at_least_once` is recognised and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core import processor
from stream_app.core.batch import BY_CLOCK, BY_LABEL
from tests.audit.trial import Run
from tests.core.streams import DAY, MINUTE, Record, event, label

STEPS = (0, 0, 0.1, 0.1, 1, 2, 5, 10, -1, -5, -20, 29, 30, 31, 33, 61, -61, 500, -500)
KINDS = ("view_item", "view_item", "add_to_cart", "purchase", "purchase", "search", "remove_from_cart", "refund")


class Step:
    """A batch of the run: labels, events, and time that passes idly before it."""

    def __init__(self, events: list[Record], labels: list[Record], idle_ms: int, *, lost: bool) -> None:
        self.events, self.labels, self.idle_ms, self.lost = events, labels, idle_ms, lost

    def __repr__(self) -> str:
        return f"Step({self.events}, {self.labels}, {self.idle_ms}, lost={self.lost})"


@st.composite
def runs(
    draw: st.DrawFn,
    crowd: str = "",
    visitors: str = "abcde",
    steps: Sequence[float] = STEPS,
    ids: Sequence[str | None] = (None, None, "s1", "s2"),
    told_after: Sequence[float] = (-20, -1, 1, 20, 90),
) -> list[Step]:
    first = [event(n, visitor, "page_view", 0) for n, visitor in enumerate(crowd)]
    found: list[Step] = [Step(first, [], 0, lost=False)]
    offset, label_offset, minutes = len(first), 0, 0.0
    known: list[Record] = []
    for _ in range(draw(st.integers(1, 7))):
        events, labels = [], []
        for _ in range(draw(st.integers(0, 8))):
            choice = draw(st.integers(0, 11))
            if known and choice == 0:
                events.append(draw(st.sampled_from(known))._replace(offset=offset))
            elif choice == 1:
                events.append(Record("events", offset, 1_700_000_000_000, b"a", draw(st.sampled_from((b"x", b"{}")))))
            else:
                minutes += draw(st.sampled_from(steps))
                fields: dict[str, Any] = {
                    "session_id": draw(st.sampled_from(ids)),
                    "item_id": draw(st.sampled_from((None, "i1", "i2"))),
                    "price": draw(st.sampled_from((None, 9.99))),
                    "event_id": draw(st.sampled_from((None, None, None, "careless"))),
                    "bot": draw(st.sampled_from((None,) * 15 + (True,))),
                }
                kind = draw(st.sampled_from(KINDS))
                if kind == "purchase":
                    fields["order_id"] = draw(st.sampled_from((None, "o1", "o2")))
                given_fields = {name: value for name, value in fields.items() if value is not None}
                events.append(event(offset, draw(st.sampled_from(visitors)), kind, minutes, **given_fields))
                known.append(events[-1])
            offset += draw(st.sampled_from((1, 1, 1, 2)))
        for _ in range(draw(st.integers(0, 2))):
            told_at = minutes + draw(st.sampled_from(told_after))
            fields = {"kind": draw(st.sampled_from(("checkout", "checkout", "checkout", "refund")))}
            session_id = draw(st.sampled_from(ids))
            if session_id is not None:
                fields["session_id"] = session_id
            visitor, order_id = draw(st.sampled_from(visitors)), draw(st.sampled_from(("o1", "o2", "o3")))
            labels.append(label(label_offset, visitor, told_at, order_id, **fields))
            label_offset += 1
        idle_ms = draw(st.sampled_from((0, 0, 0, MINUTE, 20 * MINUTE, 40 * MINUTE)))
        found.append(Step(events, labels, idle_ms, lost=draw(st.integers(0, 3)) == 0))
    return found


#: A visitor or two whose labels mostly fit the open session: many teach at once. The second kind has several open.
#: Three others come first: without a majority, repetitions after an idle time hide by how much it moved the watermark.
TAUGHT = st.one_of(
    runs(crowd="xyz", visitors="ab", steps=(0, 0.1, 1, 2, -1, 29, 33, -31), ids=(None,), told_after=(-2, 0, 0, 1, 31)),
    runs(crowd="xyz", visitors="a", steps=(0, 0.1, 1, 2, -1, 25, 31), ids=(None, "s1", "s2"), told_after=(-2, 0, 0, 1)),
)


def play(run: Run, steps: list[Step], *, crashes: bool) -> Run:
    for step in steps:
        if step.idle_ms:
            run.step(idle_ms=step.idle_ms)
        if crashes and step.lost:
            run.lose(step.events, step.labels)
        run.step(step.events, step.labels)
    return run


@settings(max_examples=200, deadline=None)
@given(steps=st.one_of(runs(), TAUGHT))
def test_what_the_engine_writes_in_one_go_is_clean(steps: list[Step]) -> None:
    run = play(Run(), steps, crashes=False)
    checks = run.judge()
    assert [str(violation) for check in checks for violation in check.spelled] == []
    counts = {check.name: check for check in checks}
    assert counts["scores"].expected == len(run.topics["scores"])
    assert counts["examples"].expected == len(run.topics["examples"])
    assert counts["states"].expected == len(run.partition.states)
    note(f"clock {any(record['position'][0] == BY_CLOCK for record in _decoded(run, 'closed'))}")
    note(f"at once {any(record['position'][0] == BY_LABEL for record in _decoded(run, 'examples'))}")


@settings(max_examples=160, deadline=None)
@given(steps=st.one_of(runs(), TAUGHT))
def test_what_a_crash_repeats_is_clean_and_counted_at_least_once_and_a_violation_exactly_once(
    steps: list[Step],
) -> None:
    run = play(Run(exactly_once=False), [*steps, Step([], [], DAY, lost=False)], crashes=True)
    checks = {check.name: check for check in run.judge()}
    assert [str(violation) for check in checks.values() for violation in check.spelled] == []
    for name, topic in (("scores", "scores"), ("examples", "examples"), ("closed sessions", "closed")):
        assert checks[name].found + checks[name].repeated == len(run.topics[topic])
    repeated = checks["scores"].repeated
    note(f"repeated {repeated > 0}")
    run.exactly_once = True
    doubled = [violation.kind for violation in run.violations() if violation.check == "scores"]
    assert (doubled != []) == (repeated > 0)


@settings(max_examples=100, deadline=None)
@given(steps=st.one_of(runs(), TAUGHT))
def test_sessions_left_to_the_next_batch_are_where_they_belong(steps: list[Step]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processor, "DUE_VISITORS_MAX", 1)
        run = play(Run(), [*steps, Step([], [], DAY, lost=False)], crashes=False)
        assert [str(violation) for violation in run.violations()] == []


def test_a_careless_senders_events_of_one_moment_are_told_apart_when_the_clock_moved_between_them() -> None:
    run = Run()
    run.step([event(n, visitor, "page_view", 0) for n, visitor in enumerate("xyz")])
    run.step([event(3, "a", "view_item", 0, event_id="same", item_id="i1")])
    run.step(idle_ms=MINUTE)
    run.step([event(4, "a", "view_item", 0, event_id="same", item_id="i2")])
    assert [str(violation) for violation in run.violations()] == []


def _decoded(run: Run, topic: str) -> list[Any]:
    import json

    return [json.loads(value) for _, value in run.topics[topic]]
