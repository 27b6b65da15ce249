"""The compiled engine and its reference in Python: for any stream, however cut, both write the same bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_app.core import session
from stream_app.core.effects import Effects, Keyed
from stream_app.core.events import EVENT_TYPES
from stream_app.core.plan import Rules
from tests.core.streams import DAY, GAP, MINUTE, RULES, T0, HashScorer, Partition, Record, event, label
from tests.native.built import needs_native

pytestmark = needs_native

NAMES = st.sampled_from(["i1", "i2", "i3", "ü–名", 'a"b\\c\n\x01', "", "x" * 200, "i" * 256])
SOME = st.one_of(st.none(), NAMES)
MONEY = st.one_of(st.none(), st.just(0), st.floats(0, 1e9), st.floats(0, 100).map(lambda x: round(x, 2)))
IDS = st.sampled_from(["a", "a", "b", "b", "c", "ü", 'q"', "v" * 256])


def _record(offset: int, draw: Any) -> Record:
    """A record of the events topic: mostly good, sometimes odd, sometimes broken."""
    minutes = (
        draw(st.floats(0, 300)) if draw(st.integers(0, 9)) == 0 else offset * draw(st.sampled_from([0.0, 0.5, 2.0]))
    )
    fields: dict[str, Any] = {
        "item_id": draw(SOME),
        "category": draw(SOME),
        "brand": draw(SOME),
        "price": draw(MONEY),
        "quantity": draw(st.one_of(st.none(), st.just(2), st.floats(0, 1e6))),
    }
    rare = draw(st.integers(0, 9))
    if rare == 0:
        fields["session_id"] = draw(st.sampled_from(["s", "t", "s~2"]))
    if rare == 1:
        fields |= {"source": draw(NAMES), "country": "DE", "device": draw(st.sampled_from(["Mobile", "desktop"]))}
    if rare == 2:
        fields["page_url"] = draw(st.sampled_from(["https://s/cart?x#y", "/product/12", "", "/checkout", "/ü/search"]))
    if rare == 3:
        fields |= {
            "unknown": 1.5,
            "nested": [1, {"a": None}],
            "referrer": "https://r",
            "search_term": "\u00e9",
            "currency": "EUR",
        }
    if rare == 5:
        fields["bot"] = draw(st.sampled_from([True, True, False, None]))
    if rare == 4:
        fields["event_id"] = f"e{draw(st.integers(0, 30))}"
    kind = draw(st.sampled_from([*EVENT_TYPES, "view_item", "view_item", "add_to_cart", "purchase", "purchase"]))
    if kind == "purchase":
        fields["order_id"] = draw(st.sampled_from([None, "", "o1", "o2", "ö"]))
    visitor = draw(IDS)
    record = event(offset, visitor, kind, minutes, received=max(minutes, draw(st.floats(0, 400))), **fields)
    broken = draw(st.integers(0, 40))
    if broken == 0:
        return record._replace(value=draw(st.sampled_from([None, b"", b"{", b"\xff", b"[]", b'{"event_id":"e"}'])))
    if broken == 1:
        return record._replace(timestamp=T0 - 40 * DAY)
    if broken == 2:
        value = json.loads(record.value or b"")
        return record._replace(value=json.dumps(value, ensure_ascii=False, indent=1).encode())
    return record


def _label(offset: int, draw: Any) -> Record:
    fields = {"kind": draw(st.sampled_from(["checkout", "checkout", "refund", "cancel"]))}
    if draw(st.booleans()):
        fields["session_id"] = draw(st.sampled_from(["s", "t"]))
    return label(offset, draw(IDS), draw(st.floats(0, 100)), draw(st.sampled_from(["o1", "o2", "l1", "l2"])), **fields)


@st.composite
def streams(draw: Any) -> list[tuple[list[Record], list[Record], int]]:
    """Batches: events, labels, idle milliseconds."""
    batches, offset, labels = [], 0, 0
    for _ in range(draw(st.integers(1, 5))):
        events = []
        for _ in range(draw(st.integers(0, 14))):
            if events and draw(st.integers(0, 12)) == 0:
                events.append(draw(st.sampled_from(events))._replace(offset=offset))  # delivered twice
            else:
                events.append(_record(offset, draw))
            offset += 1
        told = [_label(labels + n, draw) for n in range(draw(st.sampled_from([0, 0, 0, 1, 3])))]
        labels += len(told)
        batches.append((events, told, draw(st.sampled_from([0, 0, MINUTE, GAP, 3 * GAP]))))
    return batches


def _by_key(records: Sequence[Keyed]) -> list[Keyed]:
    return sorted(records, key=lambda record: record[0])


def _same(compiled: Effects, python: Effects) -> None:
    assert compiled.features == python.features
    assert compiled.scores == python.scores
    assert compiled.examples == python.examples
    # Sessions of several visitors that end in one batch have no order among them.
    assert sorted(compiled.closed) == sorted(python.closed)
    # … nor have their moments.
    assert _by_key(compiled.moments) == _by_key(python.moments)
    assert compiled.states == python.states
    assert compiled.deadlines == python.deadlines
    assert compiled == replace(python, closed=compiled.closed, moments=compiled.moments)


def agree(batches: list[tuple[list[Record], list[Record], int]], rules: Rules = RULES) -> Partition:
    """Run both on the same batches, each on the states that it wrote itself."""
    compiled = Partition(replace(rules, engine="compiled"), HashScorer())
    python = Partition(replace(rules, engine="python"), HashScorer())
    for events, labels, idle_ms in batches:
        more = True
        while more:
            effects = [partition.compute(events, labels, idle_ms) for partition in (compiled, python)]
            _same(*effects)
            for partition, found in zip((compiled, python), effects, strict=True):
                partition.emit(found)
                partition.states.update(found.states)
                partition.position = found.position
                partition.processor.committed(found)
            more, events, labels, idle_ms = effects[0].more_due, [], [], 0
    assert compiled.states == python.states
    return compiled


@settings(max_examples=110, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(streams())
def test_any_stream_comes_to_the_same_bytes(batches: list[tuple[list[Record], list[Record], int]]) -> None:
    agree(batches)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(streams(), st.sampled_from(["off", "all", "fence", "sampled"]), st.integers(1, 3), st.sampled_from([0, DAY]))
def test_under_any_rules(batches: list[Any], reasons: Any, reservoir_size: int, late_label_ms: int) -> None:
    agree(batches, replace(RULES, reasons=reasons, reservoir_size=reservoir_size, late_label_ms=late_label_ms))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(streams(), st.integers(2, 5), st.integers(1, 90), st.sampled_from([1_000, 30 * MINUTE]))
def test_with_bounds_that_sessions_meet(batches: list[Any], events_max: int, age_minutes: int, haste_ms: int) -> None:
    """What makes a session a bot's is rare otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "SESSION_EVENTS_MAX", events_max)
        patch.setattr(session, "SESSION_AGE_MS_MAX", age_minutes * MINUTE)
        patch.setattr(session, "HASTE_STEP_MS", MINUTE)
        patch.setattr(session, "HASTE_MS_MAX", haste_ms + MINUTE)
        agree(batches)
