"""The models that contenders begin with: learned beforehand, so that scores are plausible and cost what they cost warm.

Ours goes into the snapshots topic as a trainer would have written it; the others' is a River pipeline, saved as JSON.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from river import compose, linear_model, preprocessing

from benchmarks.contenders.scorer import save_model
from benchmarks.contenders.session import State, features, fold, outcome
from benchmarks.rig.stream import Given
from stream_app import topics
from stream_app.core.example_decoding import TypedExample
from stream_app.core.learner import Learner
from stream_app.core.snapshots import SIGNATURE_HEADER, Signed, encode_snapshot
from stream_app.learning import new_learner
from stream_app.settings import Settings
from stream_app.worker import rules_of
from tests.core.streams import Partition, Record


def learn_river(given: Sequence[Given], path: Path) -> None:
    """Learn the contenders' pipeline from the outcomes of these events and save it."""
    model = compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())
    states: dict[str, State] = {}
    for record in given:
        event: dict[str, Any] = json.loads(record.value)
        state = states.get(record.visitor_id)
        if state is not None and (bought := outcome(state, event)) is not None:
            model.learn_one(features(state), bought)
        states[record.visitor_id] = fold(state, event)
    # Sessions that nobody continued were not bought either.
    for state in states.values():
        if not state["purchases"]:
            model.learn_one(features(state), False)
    save_model(model, str(path))


def learn_ours(given: Sequence[Given], settings: Settings) -> Learner:
    """A learner that has seen the examples of these events."""
    partition, learner = Partition(rules_of(settings)), new_learner(settings)
    now_ms = int(time.time() * 1000)
    for start in range(0, len(given), 1_000):
        block = given[start : start + 1_000]
        partition.step(
            [Record("events", start + n, now_ms, r.visitor_id.encode(), r.value) for n, r in enumerate(block)]
        )
    for offset, example in enumerate(partition.examples):
        learner.fold(0, offset, msgspec.convert(example, TypedExample))
    if learner.cold:
        raise SystemExit(f"{len(given)} events were too few to warm the model")
    return learner


def snapshot(learner: Learner, settings: Settings) -> list[Signed]:
    """The records of the learner's model. Its input offsets are left out: those examples are of no topic of the run."""
    learner.version += 1
    learner.offsets, learner.positions = {}, {}
    return encode_snapshot(
        learner.export(), learner.priors.table.take_changes(), learner.export_challengers(),
        version=learner.version, published_at=int(time.time() * 1000),
        secret=settings.snapshot_key.get_secret_value().encode(),
    )  # fmt: skip


async def publish(records: Sequence[Signed], settings: Settings) -> None:
    """Write a snapshot into the topic of these settings."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap, acks="all", max_request_size=4 * 1024 * 1024
    )
    await producer.start()
    try:
        for key, value, signature in records:
            await producer.send(
                settings.topic(topics.SNAPSHOTS), value, key=key, headers=[(SIGNATURE_HEADER, signature)], partition=0
            )
        await producer.flush()
    finally:
        await producer.stop()
