"""What `exactly_once` costs: events per second and latency of both guarantees, one after the other in the same run.

    python benchmarks/guarantees.py [--events N] [--rounds R] [--rate EVENTS_PER_SECOND] [--seconds S]

Throughput as in `throughput.py`: a filled topic, one worker without a trainer, the clock from its first score to its
last. Latency: events are sent at a steady rate, each stamped by the broker; a consumer of committed records reads the
scores as a shop's discounts would, so the time includes the wait for a transaction's end. Nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.throughput import score_alone, start, stop
from producers.sink import KafkaSink
from producers.synthetic.shop import Shop
from stream_app import admin, topics
from stream_app.core.events import Event
from stream_app.settings import Settings, load
from tests.support.servers import RealKafka, RealRedis

GUARANTEES = ("at_least_once", "exactly_once")
#: The first seconds, in which groups form and code warms up, are no latency of a running shop.
WARM_UP_S = 5.0


async def send_steadily(settings: Settings, rate: int, seconds: float, sent: dict[str, float]) -> None:
    """Send events every 10 ms, and note when each was handed over."""
    shop = Shop(seed=7, start_ms=int(time.time() * 1000), sessions_per_hour=20_000.0)
    events = (fact for fact in shop if isinstance(fact, Event))
    async with KafkaSink(settings.kafka_bootstrap, topic_prefix=settings.topic_prefix) as sink:
        started, done = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < seconds:
            for event in islice(events, int(elapsed * rate) - done):
                sent[event.event_id] = time.time()
                await sink.send_event(event)
                done += 1
            await asyncio.sleep(0.01)
        await sink.flush()


async def latencies(settings: Settings, rate: int, seconds: float, log: Path) -> list[float]:
    """Seconds from the handing over of an event to the reading of its score, after the warm-up."""
    await admin.create_topics(settings)
    worker = start("worker", settings, log)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=100,
    )
    await consumer.start()
    consumer.assign([TopicPartition(settings.topic(topics.SCORES), p) for p in range(settings.topic_partitions)])
    sent: dict[str, float] = {}
    found: list[float] = []
    begun = time.time()
    sending = asyncio.create_task(send_steadily(settings, rate, seconds + WARM_UP_S, sent))
    try:
        seen = 0
        while not sending.done() or seen < len(sent):
            for batch in (await consumer.getmany(timeout_ms=100)).values():
                now = time.time()
                for record in batch:
                    seen += 1
                    event_id = json.loads(record.value)["event_id"]
                    if sent[event_id] > begun + WARM_UP_S:
                        found.append(now - sent[event_id])
        await sending
    finally:
        await consumer.stop()
        stop(worker)
    return found


async def one_round(
    kafka: RealKafka, redis: RealRedis, arguments: argparse.Namespace, number: int, log: Path
) -> dict[str, float]:
    found: dict[str, float] = {}
    for guarantee in GUARANTEES if number % 2 else reversed(GUARANTEES):
        flags = {"kafka_bootstrap": kafka.bootstrap, "redis_url": redis.url, "processing_guarantee": guarantee}
        full = load(flags={**flags, "topic_prefix": f"full-{guarantee}-{number}."})
        await admin.create_topics(full)
        found[f"{guarantee}_events_per_second"], found[f"{guarantee}_cpu_us_per_event"] = await score_alone(
            full, arguments.events, 1, number, log
        )
        steady = load(flags={**flags, "topic_prefix": f"steady-{guarantee}-{number}."})
        waits = await latencies(steady, arguments.rate, arguments.seconds, log)
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            found[f"{guarantee}_{name}_ms"] = float(np.quantile(waits, share)) * 1000
    found["exactly_once_share_of_throughput"] = (
        found["exactly_once_events_per_second"] / found["at_least_once_events_per_second"]
    )
    return found


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, RealKafka() as kafka, RealRedis() as redis:
        log = Path(directory) / "log"
        rounds = []
        for number in range(arguments.rounds):
            rounds.append(await one_round(kafka, redis, arguments, number, log))
            print({name: round(value, 2) for name, value in rounds[-1].items()}, flush=True)
    medians = {name: round(statistics.median(found[name] for found in rounds), 2) for name in rounds[0]}
    print(json.dumps({"events": arguments.events, "rate": arguments.rate, "median": medians}, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
