"""A partition in a test: records in, outputs decoded, states and deadlines kept as the log and the view keep them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from stream_app.core import state
from stream_app.core.effects import Effects, Position
from stream_app.core.features import FIXED_POINT
from stream_app.core.plan import WithoutReasons
from stream_app.core.processor import PartitionProcessor, Rules, Scorer
from stream_app.core.records import Keys

#: Any instant: 2023-11-14T22:13:20Z. Times of test events are minutes from here.
T0 = 1_700_000_000_000
MINUTE = 60_000
GAP = 30 * MINUTE
GRACE = MINUTE
DAY = 24 * 60 * MINUTE

RULES = Rules(
    gap_ms=GAP,
    grace_ms=GRACE,
    history_ttl_ms=30 * DAY,
    late_label_ms=DAY,
    reservoir_size=8,
    cache_visitors_max=100,
    band_fence_min=0.08,
    band_likely_min=0.25,
)


class Record(NamedTuple):
    topic: str
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def at(minutes: float) -> int:
    return T0 + round(minutes * MINUTE)


def event(
    offset: int, visitor: str, event_type: str, minutes: float, *, received: float | None = None, **fields: Any
) -> Record:
    """One event of the partition; its id is its offset unless given. Without `received` it arrives as it happens."""
    value = {
        "event_id": f"e{offset}",
        "event_type": event_type,
        "event_time": at(minutes),
        "visitor_id": visitor,
        **fields,
    }
    timestamp = at(minutes if received is None else received)
    return Record("events", offset, timestamp, visitor.encode(), json.dumps(value).encode())


def label(offset: int, visitor: str, minutes: float, order_id: str, **fields: Any) -> Record:
    value = {"visitor_id": visitor, "order_id": order_id, "checkout_time": at(minutes), **fields}
    return Record("labels", offset, T0 + 300 * DAY, visitor.encode(), json.dumps(value).encode())


def crowd(offset: int, minutes: float) -> list[Record]:
    """Three events of three visitors at one time: enough for the watermark to believe it."""
    return [event(offset + n, visitor, "page_view", minutes) for n, visitor in enumerate(("x", "y", "z"))]


class ConstantScorer(WithoutReasons):
    """Says the same of everyone."""

    name, version, updates, cold = "constant", 7, 70, False
    bands = None

    def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
        return np.full(len(x), 0.125)


class ScriptedScorer(WithoutReasons):
    """Says what it was told to, event after event."""

    name, version, updates, cold = "scripted", 7, 70, False
    bands = None

    def __init__(self, *scores: float) -> None:
        self.scores = list(scores)

    def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
        said, self.scores = self.scores[: len(x)], self.scores[len(x) :]
        return np.array(said)


class HashScorer(WithoutReasons):
    """A number from all features and keys: any difference in either changes it."""

    name, version, updates, cold = "hash", 1, 0, True
    bands = None

    def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
        rows = np.rint(x * FIXED_POINT).astype("<i4")
        return np.array(
            [
                (1 + crc32(row.tobytes() + repr(key).encode()) % 9998) / 10_000
                for row, key in zip(rows, keys, strict=True)
            ]
        )


class Partition:
    """The processor with an in-memory shell. Outputs are appended as they would reach the topics."""

    def __init__(self, rules: Rules = RULES, scorer: Scorer | None = None) -> None:
        self.rules = rules
        self.scorer = scorer or ConstantScorer()
        self.position = Position()
        self.states: dict[str, bytes] = {}
        self.deadlines: dict[str, int] = {}
        self.scores: list[dict[str, Any]] = []
        self.features: list[dict[str, Any]] = []
        self.examples: list[dict[str, Any]] = []
        self.closed: list[dict[str, Any]] = []
        self.moments: list[dict[str, Any]] = []
        self.restart()

    def restart(self) -> None:
        """What a new owner does: everything in memory is gone."""
        self.processor = PartitionProcessor(self.rules, partition=3)
        self.processor.start(self.position, self.deadlines)

    def compute(self, events: Sequence[Record], labels: Sequence[Record], idle_ms: int = 0) -> Effects:
        """A batch up to the point where something would be written."""
        plan = self.processor.plan(events, labels, idle_ms=idle_ms)
        assert set(plan.expected) <= set(self.states)
        loaded = {visitor: self.states.get(visitor) for visitor in plan.missing}
        return self.processor.apply(plan, loaded, self.scorer, now_ms=T0)

    def emit(self, effects: Effects) -> None:
        """The outputs reach their topics."""
        for kept, written in (
            (self.scores, effects.scores),
            (self.features, effects.features),
            (self.examples, effects.examples),
            (self.closed, effects.closed),
            (self.moments, effects.moments),
        ):
            for key, value in written:
                decoded = json.loads(value)
                assert decoded["visitor_id"].encode() == key
                kept.append(decoded)

    def store(self, states: Mapping[str, bytes]) -> None:
        """States reach the changelog; deadlines are read from them, as a restoring owner does."""
        for visitor, blob in states.items():
            self.states[visitor] = blob
            deadline = state.decode(blob).deadline(self.rules.gap_ms, self.rules.quiet_ms)
            if deadline is None:
                self.deadlines.pop(visitor, None)
            else:
                self.deadlines[visitor] = deadline

    def step(self, events: Iterable[Record] = (), labels: Iterable[Record] = (), idle_ms: int = 0) -> Effects:
        """A whole batch, written and committed; then what was left over because too many were due."""
        effects = self.compute(list(events), list(labels), idle_ms)
        self.emit(effects)
        self.states.update(effects.states)
        for visitor, deadline in effects.deadlines.items():
            if deadline is None:
                self.deadlines.pop(visitor, None)
            else:
                self.deadlines[visitor] = deadline
        self.position = effects.position
        self.processor.committed(effects)
        if effects.more_due:
            self.step()
        return effects

    def visitor(self, visitor_id: str) -> state.Visitor:
        return state.decode(self.states[visitor_id])

    def feature(self, event_id: str, name: str) -> float:
        """A feature as emitted after the event."""
        (record,) = [record for record in self.features if record["event_id"] == event_id]
        value = record["features"][name]
        assert isinstance(value, float | int)
        return float(value)

    def labels_of(self) -> dict[str, tuple[int, str]]:
        """Event id → its last label and that one's source; no event may have two, unless one corrects the other."""
        found: dict[str, tuple[int, str]] = {}
        for example in self.examples:
            event_id, label = example["event_id"], example["label"]
            assert example["previous"] == found.get(event_id, (-1, ""))[0] != label
            found[event_id] = (label, example["label_source"])
        return found
