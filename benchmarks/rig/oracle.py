"""What a contender's features and scores must be: its own fold, replayed over the input without any crash.

For the contenders that share `contenders/session.py` (and the JVM's twin of it) that fold; for ours our own core, fed
with the records as they lie on the topic. Both scored by the model that the contender was given, which learns nothing
in the runs that are compared.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from benchmarks.contenders.scorer import load_model, score
from benchmarks.contenders.session import State
from benchmarks.rig.outputs import Written
from stream_app.core.serving import ServingModel
from stream_app.core.snapshots import Signed, SnapshotReader
from stream_app.settings import Settings
from stream_app.worker import rules_of
from tests.core.streams import Partition, Record

#: Two languages' logarithms may differ in the last place; a double count differs in the first.
TOLERANCE = 1e-6


class Truth(NamedTuple):
    """Of one event."""

    events: int
    features: dict[str, float]
    score: float


class _Scored(msgspec.Struct):
    event_id: str
    events: int
    score: float


class _Features(msgspec.Struct):
    event_id: str
    events: int
    features: dict[str, float]


def of_contenders(written: Sequence[Written], model_path: str) -> dict[str, Truth]:
    """By event id, for the fold that the other contenders share."""
    model = load_model(model_path)
    states: dict[str, State] = {}
    found = {}
    for record in written:
        event: dict[str, Any] = json.loads(record.value)
        visitor = event["visitor_id"]
        states[visitor], x, scored = score(states.get(visitor), event, model, learn=False)
        found[event["event_id"]] = Truth(x["events"], x["features"], scored["score"])
    return found


def of_ours(written: Sequence[Written], records: Sequence[Signed], settings: Settings) -> dict[str, Truth]:
    """By event id, for our own core, one partition after the other."""
    partitions: dict[int, list[Record]] = defaultdict(list)
    for record in written:
        partitions[record.partition].append(Record("events", record.offset, record.timestamp, record.key, record.value))
    found = {}
    for events in partitions.values():
        partition = Partition(rules_of(settings), scorer=serving(records, settings))
        for start in range(0, len(events), 1_000):
            partition.step(events[start : start + 1_000])
        for x, scored in zip(partition.features, partition.scores, strict=True):
            found[x["event_id"]] = Truth(x["events"], x["features"], scored["score"])
    return found


def serving(records: Sequence[Signed], settings: Settings) -> ServingModel:
    """The model as a worker that follows these records serves it."""
    model = ServingModel(settings.model, base_rate=settings.base_rate)
    reader = SnapshotReader(secret=settings.snapshot_key.get_secret_value().encode())
    for record in records:
        snapshot = reader.read(*record)
        if snapshot is not None:
            model.take(snapshot.head, snapshot.entries)
    return model


def wrong_features(truth: dict[str, Truth], written: Sequence[Written]) -> set[str]:
    """Event ids of which some features record is not what it must be."""
    decoder = msgspec.json.Decoder(_Features)
    wrong = set()
    for record in written:
        got = decoder.decode(record.value)
        expected = truth.get(got.event_id)
        if expected is None or got.events != expected.events or not _same(got.features, expected.features):
            wrong.add(got.event_id)
    return wrong


def wrong_scores(truth: dict[str, Truth], written: Sequence[Written]) -> set[str]:
    """Event ids of which some score is not what it must be."""
    decoder = msgspec.json.Decoder(_Scored)
    wrong = set()
    for record in written:
        got = decoder.decode(record.value)
        expected = truth.get(got.event_id)
        # Ours are rounded to six digits, on either side of which two ways of summing up may fall.
        if expected is None or abs(got.score - expected.score) > 2 * TOLERANCE:
            wrong.add(got.event_id)
    return wrong


def _same(got: dict[str, float], expected: dict[str, float]) -> bool:
    if got.keys() != expected.keys():
        return False
    return all(abs(value - expected[name]) <= TOLERANCE for name, value in got.items())
