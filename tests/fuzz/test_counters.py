"""Every kind of hostile input is seen: its own counter moves, and no other. The table of docs/hostile-input.md."""

from __future__ import annotations

import json

import pytest
from prometheus_client import CollectorRegistry

from stream_app.core.effects import Effects
from stream_app.core.placement import murmur2
from stream_app.core.processor import PartitionProcessor
from stream_app.core.session import SESSION_EVENTS_MAX
from stream_app.observe import Observer
from tests.core.streams import MINUTE, RULES, T0, ConstantScorer, Record, at, event, label

PARTITION, PARTITIONS = 1, 2
EVENTS, LABELS = "clickstream.events.v1", "checkout.labels.v1"


def visitor(n: int = 0, *, partition: int = PARTITION) -> str:
    """The n-th visitor of a partition."""
    found = (f"v{k}" for k in range(1_000) if (murmur2(f"v{k}".encode()) & 0x7FFFFFFF) % PARTITIONS == partition)
    return [next(found) for _ in range(n + 1)][n]


def counted(*batches: list[Record], labels: list[Record] = []) -> dict[str, float]:  # noqa: B006 -- only read
    """The counters that batches move, apart from the ordinary ones."""
    registry = CollectorRegistry()
    observer = Observer(registry)
    processor = PartitionProcessor(RULES, partition=PARTITION, partitions=PARTITIONS)
    states: dict[str, bytes] = {}
    for events in batches:
        plan = processor.plan(events, labels)
        loaded = {name: states.get(name) for name in plan.missing}
        effects: Effects = processor.apply(plan, loaded, ConstantScorer(), now_ms=T0)
        processor.committed(effects)
        states.update(effects.states)
        observer.batch(PARTITION, effects, records=len(events), received_ms=[], now_ms=0, stages={})
        labels = []
    moved = {}
    for family in registry.collect():
        for sample in family.samples:
            if (
                family.type == "counter"
                and sample.name.endswith("_total")
                and sample.value
                and "intent_" in sample.name
            ):
                moved[sample.name.removeprefix("intent_") + str(sorted(sample.labels.values()))] = sample.value
    return {name: value for name, value in moved.items() if not _is_ordinary(name)}


def _is_ordinary(name: str) -> bool:
    kinds = ("scores_", "moments_", "examples_", "sessions_opened", "sessions_closed_total['gap']", "process_")
    return name.startswith(kinds) or (name.startswith("events_total") and "scored" in name)


def good(offset: int, minutes: float = 0, **fields: object) -> Record:
    return event(offset, visitor(), "view_item", minutes, **fields)  # type: ignore[arg-type]


def raw(value: bytes | None, key: str | None = None) -> Record:
    return Record(EVENTS, 0, T0, (key or visitor()).encode(), value)


def bad(**fields: object) -> Record:
    known = {"event_id": "e", "event_type": "view_item", "event_time": T0, "visitor_id": visitor()}
    return raw(json.dumps({**known, **fields}).encode())


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (raw(None), "empty_value"),
        (raw(b""), "empty_value"),
        (raw(b"{" * 300_000), "too_large"),
        (raw(b"view,1"), "not_json"),
        (raw(b'{"a":' * 20_000), "not_json"),
        (bad(item_id="\ud800"), "not_json"),
        (raw(b"{}"), "missing_field"),
        (bad(price="1"), "wrong_type"),
        (bad(price=-1), "invalid_value"),
        (raw(json.dumps({"event_type": "view_item"}).encode()[:-1] + b',"price":1e999}'), "invalid_value"),
        (bad(event_time=-1), "time_out_of_range"),
        (bad(event_time=10**400), "time_out_of_range"),
        (bad(event_time=T0 + 2 * 86_400_000), "time_out_of_range"),
        (good(0)._replace(topic=EVENTS, key=None), "wrong_key"),
        (good(0)._replace(topic=EVENTS, key=b"another"), "wrong_key"),
    ],
)
def test_a_record_that_is_refused_is_counted_by_its_reason(record: Record, reason: str) -> None:
    assert counted([record]) == {
        f"dead_letters_total{sorted([EVENTS, reason])}": 1, "events_total['rejected', 'unknown']": 1
    }  # fmt: skip


def test_a_label_that_is_refused_is_counted_by_its_reason() -> None:
    record = label(0, visitor(), 0, "o")._replace(topic=LABELS, key=None)
    assert counted([], labels=[record]) == {
        f"dead_letters_total{sorted([LABELS, 'wrong_key'])}": 1, "labels_total['rejected']": 1
    }  # fmt: skip


def test_a_repeated_event_is_counted() -> None:
    assert counted([good(0), good(0)._replace(offset=1)]) == {"events_total['duplicate', 'view_item']": 1}


def test_a_late_event_is_counted() -> None:
    crowd = [event(n, visitor(n), "view_item", 100) for n in range(3)]
    assert counted([*crowd, good(3, 10)]) == {"events_total['late', 'view_item']": 1}


def test_a_clock_that_is_ahead_is_counted() -> None:
    assert counted([good(0, 10, received=0)]) == {"events_ahead_total[]": 1}


def test_a_visitor_on_the_wrong_partition_is_counted() -> None:
    stranger = event(0, visitor(partition=0), "view_item", 0)
    assert counted([stranger]) == {"stray_visitors_total['1']": 1}


def test_a_bots_sessions_are_counted_as_ended_by_their_bound() -> None:
    """A hundred a second: each event but the first gains 990 ms, and the sixty-first is more than a minute ahead."""
    bot = [good(n, n / 6_000) for n in range(SESSION_EVENTS_MAX + 1)]
    assert counted(bot[: SESSION_EVENTS_MAX // 2], bot[SESSION_EVENTS_MAX // 2 :]) == {
        "sessions_closed_total['bound']": 1,
        "bot_events_total[]": SESSION_EVENTS_MAX + 1 - 60,
        "bot_sessions_total[]": 1,
    }


def test_a_visitor_with_a_new_session_id_at_each_event_is_counted() -> None:
    assert counted([good(n, n / 60, session_id=f"s{n}") for n in range(6)]) == {"sessions_closed_total['bound']": 2}


def test_what_is_ordinary_moves_none_of_them() -> None:
    assert at(1) == T0 + MINUTE
    assert counted([good(n, n) for n in range(5)]) == {}
