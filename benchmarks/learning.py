"""How quickly is learned: examples per second of the trainer, and the way from a checkout to a score that knows it.

    python benchmarks/learning.py [--rate EVENTS_PER_S] [--seconds S] [--challengers a,b] [--json]

Part one: examples of a synthetic shop, as they lie on the topic, through decoding and `Learner.fold`, CPU time of this
process; and the same with a challenger beside the champion. Part two: a trainer process catches up with a filled
examples topic on a real broker. Part three: a shop at its own pace, compressed in time, on a real broker and a real
Redis with a worker and a trainer of their own. For every purchase: from the broker's timestamp of its record to the
first score of any visitor that a model has made which had learned from it. Nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from subprocess import Popen
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.models import shop_examples
from benchmarks.rig.processes import start, stop
from producers.sink import KafkaSink
from producers.synthetic.shop import Shop
from stream_app import admin, topics
from stream_app.backends.clients import KafkaClients
from stream_app.backends.training_log import SnapshotTail
from stream_app.core.events import Event
from stream_app.core.example_decoding import decode_example
from stream_app.core.learner import Learner
from stream_app.core.snapshots import HEAD_KEY, RefusedError, SnapshotReader, signature_of
from stream_app.settings import Settings, load
from tests.support.servers import RealKafka, RealRedis

#: The shop's hours, of which a second of the benchmark takes as much as makes the wanted rate.
SESSIONS_PER_HOUR = 20_000.0
GAP_MS = 30 * 60 * 1000


# ---- part one -------------------------------------------------------------------------------------------------------


def fold_speed(examples: list[bytes], models: list[str]) -> float:
    """Examples per second of CPU time, decoding included, of the last half: the first makes the model warm."""
    learner = Learner(models, base_rate=0.03)
    middle = len(examples) // 2
    for offset, value in enumerate(examples[:middle]):
        learner.fold(0, offset, decode_example(value))
    assert not learner.cold
    started = time.process_time()
    for offset, value in enumerate(examples[middle:], middle):
        learner.fold(0, offset, decode_example(value))
    return (len(examples) - middle) / (time.process_time() - started)


# ---- part two -------------------------------------------------------------------------------------------------------


async def catching_up(bootstrap: str, redis_url: str, examples: list[bytes], log: Path) -> float:
    """Examples per second of a trainer process, between its first and its last snapshot on the way."""
    settings = load(flags={"kafka_bootstrap": bootstrap, "redis_url": redis_url, "topic_prefix": "behind."})
    await admin.create_topics(settings)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_batch_size=900_000)
    await producer.start()
    sent = [await producer.send(settings.topic(topics.EXAMPLES), value, partition=0) for value in examples]
    await asyncio.gather(*sent)
    await producer.stop()
    trainer = start("trainer", settings, log)
    try:
        progress = await published(settings, trainer, len(examples))
    finally:
        stop(trainer)
    # The last one may be of less than a full interval's work.
    (begun, first), (ended, last) = progress[0], progress[-2] if len(progress) > 2 else progress[-1]
    return (last - first) / (ended - begun)


async def published(settings: Settings, trainer: Popen[bytes], examples: int) -> list[tuple[float, int]]:
    """Time (s) and examples learned of each snapshot, until all are; each is read once, as it comes."""
    tail = SnapshotTail(settings, KafkaClients(settings))
    reader = SnapshotReader(secret=settings.snapshot_key.get_secret_value().encode())
    progress: list[tuple[float, int]] = []
    await tail.start()
    try:
        while not progress or progress[-1][1] < examples:
            if trainer.poll() is not None:
                raise SystemExit(f"the trainer ended with {trainer.returncode}")
            for record in await tail.poll(timeout_ms=1_000):
                if record[0] == HEAD_KEY and (found := reader.read(*record)) is not None:
                    learned = sum(offset for _, offset in found.head.state["offsets"])
                    progress.append((found.head.published_at / 1000, learned))
    finally:
        await tail.stop()
    return progress


# ---- part three -----------------------------------------------------------------------------------------------------


def compressed(rate: float, count: int) -> tuple[list[Event], float]:
    """Events of a shop as busy as that when its time runs `speed` times as fast, and the speed."""
    shop = Shop(seed=5, start_ms=0, sessions_per_hour=SESSIONS_PER_HOUR)
    events = list(islice((fact for fact in shop if isinstance(fact, Event)), count))
    span_s = (time_of(events[-1]) - time_of(events[count // 2])) / 1000
    return events, rate / (count / 2 / span_s)


def time_of(event: Event) -> int:
    assert isinstance(event.event_time, int)
    return event.event_time


async def feed(settings: Settings, events: list[Event], speed: float) -> None:
    """Send each event when its time has come, stamped with the time that it is."""
    first, begun = time_of(events[0]), time.time()
    async with KafkaSink(settings.kafka_bootstrap, topic_prefix=settings.topic_prefix) as sink:
        for event in events:
            due = begun + (time_of(event) - first) / 1000 / speed
            if due > time.time() + 0.005:
                await asyncio.sleep(due - time.time())
            await sink.send_event(msgspec.structs.replace(event, event_time=int(due * 1000)))
        await sink.flush()


async def records(settings: Settings, topic: str) -> AsyncIterator[Any]:
    """All committed records of a topic."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=8 * 1024 * 1024,
    )
    await consumer.start()
    try:
        found = await consumer._client.fetch_all_metadata()
        name = settings.topic(topic)
        places = [TopicPartition(name, p) for p in sorted(found.partitions_for_topic(name))]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                for record in batch:
                    yield record
    finally:
        await consumer.stop()


async def heads(settings: Settings) -> AsyncIterator[tuple[int, float, dict[int, int]]]:
    """Version, time (s) and offsets of each snapshot."""
    reader = SnapshotReader(secret=settings.snapshot_key.get_secret_value().encode())
    async for record in records(settings, topics.SNAPSHOTS):
        try:
            found = reader.read(record.key, record.value, signature_of(record.headers))
        except RefusedError:
            continue
        if found is not None:
            offsets = {int(partition): int(offset) for partition, offset in found.head.state["offsets"]}
            yield found.head.version, found.head.published_at / 1000, offsets


async def label_to_score(settings: Settings) -> list[float]:
    """Seconds for each purchase that had been learned, and whose model had scored, before the end."""
    arrived = {(r.partition, r.offset): r.timestamp / 1000 async for r in records(settings, topics.EVENTS)}
    versions = [(version, offsets) async for version, _, offsets in heads(settings)]
    scored: dict[int, float] = {}
    async for record in records(settings, topics.SCORES):
        score = json.loads(record.value)
        version, at = score["model_version"], score["scored_at"] / 1000
        scored[version] = min(at, scored.get(version, at))
    ways = []
    served = sorted(scored)
    async for record in records(settings, topics.EXAMPLES):
        example = decode_example(record.value)
        if example.label_source != "purchase" or example.left or example.cold:
            continue
        learned = next((v for v, offsets in versions if offsets.get(record.partition, 0) > record.offset), None)
        knowing = [scored[v] for v in served if learned is not None and v >= learned]
        if knowing:
            ways.append(min(knowing) - arrived[record.partition, example.position[1]])
    return ways


async def live(bootstrap: str, redis_url: str, rate: float, seconds: float, log: Path) -> dict[str, float]:
    events, speed = compressed(rate, int(rate * seconds))
    settings = load(
        flags={
            "kafka_bootstrap": bootstrap,
            "redis_url": redis_url,
            "topic_prefix": "live.",
            "session_gap_ms": max(1_000, int(GAP_MS / speed)),
            "grace_ms": 1_000,
        }
    )
    await admin.create_topics(settings)
    processes = [start(verb, settings, log) for verb in ("worker", "trainer")]
    try:
        await asyncio.sleep(5.0)
        started = time.time()
        await feed(settings, events, speed)
        took = time.time() - started
        await asyncio.sleep(3.0)
    finally:
        stop(*processes)
    ways = np.array(await label_to_score(settings))
    if not len(ways):
        raise SystemExit("no purchase was learned in time: give it more seconds")
    p50, p90, p99 = np.percentile(ways, [50, 90, 99]).tolist()
    return {
        "events_per_second": len(events) / took,
        "purchases": len(ways),
        "p50_s": p50,
        "p90_s": p90,
        "p99_s": p99,
        "max_s": float(ways.max()),
    }


def repeated(examples: list[bytes], times: int) -> Iterator[bytes]:
    """The examples again and again, each time at positions of their own."""
    for turn in range(times):
        for value in examples:
            example = decode_example(value)
            kind, trigger, n = example.position
            yield msgspec.json.encode(msgspec.structs.replace(example, position=(kind, trigger + turn * 10**9, n)))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=90_000)
    parser.add_argument("--rate", type=float, default=2_000.0)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--challengers", default="bins")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    examples = [msgspec.json.encode(example) for example in shop_examples(arguments.examples)]
    models = ["newton", *filter(None, arguments.challengers.split(","))]
    found: dict[str, Any] = {
        "fold_examples_per_cpu_second": fold_speed(examples, ["newton"]),
        f"with_{'_'.join(models[1:])}": fold_speed(examples, models),
    }
    with tempfile.TemporaryDirectory() as directory, RealKafka() as kafka, RealRedis() as redis:
        log = Path(directory) / "log"
        try:
            behind = list(repeated(examples, 4))
            found["trainer_examples_per_second"] = await catching_up(kafka.bootstrap, redis.url, behind, log)
            print(found, file=sys.stderr)
            found["label_to_score"] = await live(kafka.bootstrap, redis.url, arguments.rate, arguments.seconds, log)
        except SystemExit:
            sys.stderr.write(log.read_text() if log.exists() else "")
            raise
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
