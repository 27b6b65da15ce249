"""A partition under hostile records: each is accounted for exactly once, and all that comes out is sane and bounded."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from stream_app.core import state
from stream_app.core.codec import REJECT_REASONS
from stream_app.core.effects import Effects, Position
from stream_app.core.processor import PartitionProcessor
from tests.core.streams import GAP, RULES, T0, HashScorer, Record

#: What a broker takes by default: larger outputs would stop the partition.
OUTPUT_BYTES_MAX: Final = 1_048_576 - 1_024

#: Few enough that blobs are evicted and loaded again.
_RULES: Final = dataclasses.replace(RULES, cache_visitors_max=3)

#: With one partition the key is not looked at; with two it is, and what it hashes to.
_PARTITIONS: Final = 2


class HostilePartition:
    """The processor with a shell in memory that checks every batch."""

    def __init__(self, *, partitions: int = _PARTITIONS, blob_bytes_max: int = OUTPUT_BYTES_MAX) -> None:
        self.processor = PartitionProcessor(_RULES, partition=1, partitions=partitions)
        self.processor.start(Position(), {})
        self.states: dict[str, bytes] = {}
        self.blob_bytes_max = blob_bytes_max
        self.newest_watermark = -1

    def run(self, data: bytes) -> None:
        """A log written as bytes: one record a line; a line `~` ends a batch, `!` lets ten minutes pass.

        A line is `key TAB value`, of an event, or of a label when it begins with `L`. A key of `=` is the right one.
        """
        events: list[Record] = []
        labels: list[Record] = []
        offsets = {"events": 0, "labels": 0}
        for line in data.split(b"\n"):
            if line in (b"~", b"!"):
                self.step(events, labels, idle_ms=GAP // 3 if line == b"!" and not events else 0)
                events, labels = [], []
                continue
            topic, into = ("labels", labels) if line.startswith(b"L") else ("events", events)
            key, tab, value = line.removeprefix(b"L").partition(b"\t")
            into.append(
                Record(topic, offsets[topic], T0, _key(key, value) if tab else None, value if tab else key or None)
            )
            offsets[topic] += 1
        self.step(events, labels)
        self.step([], [], idle_ms=10 * GAP)

    def step(self, events: Sequence[Record], labels: Sequence[Record] = (), *, idle_ms: int = 0) -> Effects:
        """One batch, then what it has left over."""
        processor = self.processor
        before = processor.position
        plan = processor.plan(events, labels, idle_ms=idle_ms)
        assert set(plan.expected) <= set(self.states)
        loaded = {visitor: self.states.get(visitor) for visitor in plan.missing}
        effects = processor.apply(plan, loaded, HashScorer(), now_ms=T0)
        self._check_accounts(events, labels, effects)
        self._check_outputs(effects)
        self._check_states(effects)
        assert effects.position.seq == before.seq + 1
        assert effects.position.events_offset == (events[-1].offset + 1 if events else before.events_offset)
        processor.committed(effects)
        assert processor.watermark_time >= self.newest_watermark
        self.newest_watermark = processor.watermark_time
        self.states.update(effects.states)
        if effects.more_due:
            self.step([])
        return effects

    def _check_accounts(self, events: Sequence[Record], labels: Sequence[Record], effects: Effects) -> None:
        """Every record is dealt with once, and a refused one is a dead letter with its own bytes and coordinates."""
        given = {(record.topic, record.offset): record for record in (*events, *labels)}
        letters = {(letter.topic, letter.offset): letter for letter in effects.dead_letters}
        assert len(letters) == len(effects.dead_letters)
        for place, letter in letters.items():
            assert (letter.key, letter.value) == (given[place].key, given[place].value)
            assert letter.reason in REJECT_REASONS
            assert 0 < len(letter.detail) <= 500
            assert letter.partition == 1
        refused = sum(count for (kind, _), count in effects.events.items() if kind == "unknown")
        assert refused == sum(letter.topic == "events" for letter in effects.dead_letters)
        assert sum(effects.events.values()) == len(events)
        assert sum(effects.labels.values()) == len(labels)
        scored = sum(count for (_, outcome), count in effects.events.items() if outcome in ("scored", "late"))
        assert len(effects.scores) == len(effects.features) == scored

    def _check_outputs(self, effects: Effects) -> None:
        for key, value in (*effects.scores, *effects.features, *effects.examples, *effects.closed):
            assert len(key) + len(value) < OUTPUT_BYTES_MAX
            record = json.loads(value, parse_constant=_refuse)
            assert record["visitor_id"].encode() == key
            if "score" in record:
                assert 0.0 < record["score"] < 1.0
            if "features" in record:
                assert all(math.isfinite(number) for number in record["features"].values())

    def _check_states(self, effects: Effects) -> None:
        for visitor, blob in effects.states.items():
            assert len(visitor.encode()) + len(blob) < self.blob_bytes_max
            check_bounds(state.decode(blob))


def check_bounds(visitor: state.Visitor) -> None:
    """Every collection of a visitor's state is within the bound that `state.py` names."""
    assert len(visitor.sessions) <= state.OPEN_SESSIONS_MAX
    assert len(visitor.recent) <= state.RECENT_EVENTS_MAX
    assert len(visitor.marks) <= state.MARKS_MAX
    assert len(visitor.history.parts) <= state.PARTS_MAX
    assert len(visitor.taught) <= state.TAUGHT_MAX
    assert len(visitor.taken_back) <= state.TAKEN_BACK_MAX
    for taught in visitor.taught:
        assert 0 < len(taught.samples) <= RULES.reservoir_size
        assert len(taught.orders) <= state.ORDERS_MAX
        assert max(map(len, (taught.items, taught.categories, taught.brands))) <= state.TAUGHT_KEYS_MAX
    for session in visitor.sessions:
        assert len(session.samples) <= RULES.reservoir_size
        assert len(session.orders) <= state.ORDERS_MAX
        for tracked in (session.items, session.categories, session.brands):
            assert len(tracked) <= state.TRACKED_KEYS_MAX


def _key(key: bytes, value: bytes) -> bytes:
    if key != b"=":
        return key
    try:
        visitor: Any = msgspec.json.decode(value).get("visitor_id")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError):
        return b""
    return visitor.encode() if isinstance(visitor, str) else b""


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} in an output")
