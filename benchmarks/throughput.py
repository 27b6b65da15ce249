"""Events per second of one worker and one trainer through a real broker and a real Redis, watched from outside.

    python benchmarks/throughput.py [--events N] [--rounds R] [--workers W] [--json]

The topic is filled first; then worker and trainer start as processes of their own and the clock runs from the first
score seen on `intent.scores.v1` to the last. Beside it, in the same round, the floor: a raw aiokafka copy loop of the
same records (no decoding, no state, no model), so that the ratio means something on a noisy machine. CPU is what the
worker process used in that time, per event. Then the same again by the worker alone with the model just learned, and by
several workers: the trainer, the broker and Redis share the cores otherwise. Nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

sys.path.insert(0, str(Path(__file__).parents[1]))

from producers.sink import KafkaSink
from producers.synthetic.shop import Shop
from stream_app import admin, topics
from stream_app.core.events import Event
from stream_app.settings import Settings, load
from tests.support.servers import RealKafka, RealRedis

EVENTS = 200_000
ROUNDS = 3


async def fill(settings: Settings, events: int, seed: int) -> None:
    await admin.create_topics(settings)
    start_ms = int(time.time() * 1000) - 30 * 24 * 3600 * 1000
    shop = Shop(seed=seed, start_ms=start_ms, sessions_per_hour=20_000.0)
    async with KafkaSink(settings.kafka_bootstrap, topic_prefix=settings.topic_prefix) as sink:
        for event in islice((fact for fact in shop if isinstance(fact, Event)), events):
            await sink.send_event(event)
        await sink.flush()


async def watch(
    settings: Settings, topic: str, events: int, processes: list[subprocess.Popen[bytes]]
) -> tuple[float, float]:
    """Events per second while `events` more reach the topic, and CPU µs per event of the last process.

    The clock starts with the first one. Only end offsets are read: a watcher that fetched the records would compete.
    """
    places = [TopicPartition(settings.topic(topic), p) for p in range(settings.topic_partitions)]
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap, enable_auto_commit=False)
    await consumer.start()
    consumer.assign(places)
    before = sum((await consumer.end_offsets(places)).values())
    first = 0.0
    try:
        while True:
            done = sum((await consumer.end_offsets(places)).values()) - before
            now = time.perf_counter()
            if done and not first:
                first, base, cpu = now, done, cpu_seconds(processes[-1].pid)
            if done >= events:
                counted = max(1, done - base)
                return counted / (now - first), (cpu_seconds(processes[-1].pid) - cpu) / counted * 1e6
            for process in processes:
                if process.poll() is not None:
                    raise SystemExit(f"a process ended with {process.returncode}")
            await asyncio.sleep(0.1)
    finally:
        await consumer.stop()


async def copy_loop(settings: Settings, events: int) -> tuple[float, float]:
    """The floor: read each record and write it to another topic, in batches; seconds and CPU seconds."""
    source, target = settings.topic(topics.EVENTS), settings.topic(topics.SCORES)
    places = [TopicPartition(source, p) for p in range(settings.topic_partitions)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap, acks="all", max_batch_size=900_000, compression_type="zstd"
    )
    await consumer.start()
    await producer.start()
    consumer.assign(places)
    started, cpu, done = time.perf_counter(), time.process_time(), 0
    try:
        while done < events:
            sent = []
            for place, records in (await consumer.getmany(timeout_ms=200, max_records=4000)).items():
                batch = producer.create_batch()
                for record in records:
                    if batch.append(key=record.key, value=record.value, timestamp=record.timestamp) is None:
                        sent.append(await producer.send_batch(batch, target, partition=place.partition))
                        batch = producer.create_batch()
                        batch.append(key=record.key, value=record.value, timestamp=record.timestamp)
                if batch.record_count():
                    sent.append(await producer.send_batch(batch, target, partition=place.partition))
                done += len(records)
            await asyncio.gather(*sent)
        return time.perf_counter() - started, time.process_time() - cpu
    finally:
        await consumer.stop()
        await producer.stop()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def start(verb: str, settings: Settings, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "stream_app", verb, "--web-port", "0", "--log-level", "warning"]
    environment = {
        **os.environ,
        "STREAM_APP_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "STREAM_APP_REDIS_URL": settings.redis_url.get_secret_value(),
        "STREAM_APP_TOPIC_PREFIX": settings.topic_prefix,
        "STREAM_APP_PROCESSING_GUARANTEE": settings.processing_guarantee,
        "STREAM_APP_SESSION_GAP_MS": str(settings.session_gap_ms),
        "STREAM_APP_GRACE_MS": str(settings.grace_ms),
    }
    with log.open("ab") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=Path(__file__).parents[1])


async def one_round(
    bootstrap: str, redis_url: str, events: int, workers: int, number: int, log: Path
) -> dict[str, float]:
    ours = load(flags={"kafka_bootstrap": bootstrap, "redis_url": redis_url, "topic_prefix": f"ours{number}."})
    floor = load(flags={"kafka_bootstrap": bootstrap, "redis_url": redis_url, "topic_prefix": f"floor{number}."})
    await fill(ours, events, seed=number)
    await fill(floor, events, seed=number)
    copied, copy_cpu = await copy_loop(floor, events)
    trainer = start("trainer", ours, log)
    worker = start("worker", ours, log)
    try:
        speed, cpu = await watch(ours, topics.SCORES, events, [trainer, worker])
        peak = peak_mib(worker.pid)
    finally:
        stop(worker, trainer)
    # Again with the model that was learned, and the trainer away: what one worker can score.
    alone, alone_cpu = await score_alone(ours, events, 1, number, log)
    several, _ = await score_alone(ours, events, workers, number + 100, log)
    return {
        "events_per_second": speed,
        "cpu_us_per_event": cpu,
        "peak_mib": peak,
        "worker_alone_events_per_second": alone,
        "worker_alone_cpu_us_per_event": alone_cpu,
        f"{workers}_workers_alone_events_per_second": several,
        "copy_events_per_second": events / copied,
        "copy_cpu_us_per_event": copy_cpu / events * 1e6,
        "share_of_copy": speed * copied / events,
        "worker_alone_share_of_copy": alone * copied / events,
    }


async def score_alone(settings: Settings, events: int, workers: int, number: int, log: Path) -> tuple[float, float]:
    """Fill the topic again and let so many workers score it, without a trainer: events per second, CPU of the last."""
    await fill(settings, events, seed=1000 + number)
    processes = [start("worker", settings, log) for _ in range(workers)]
    try:
        return await watch(settings, topics.SCORES, events, processes)
    finally:
        stop(*processes)


def stop(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        process.send_signal(signal.SIGTERM)
    codes = [process.wait(20) for process in processes]
    if any(codes):
        raise SystemExit(f"processes ended with {codes}")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--workers", type=int, default=2, help="for the last measurement: one for each core")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, RealKafka() as kafka, RealRedis() as redis:
        log = Path(directory) / "log"
        rounds = []
        for number in range(arguments.rounds):
            try:
                rounds.append(
                    await one_round(kafka.bootstrap, redis.url, arguments.events, arguments.workers, number, log)
                )
            except SystemExit:
                sys.stderr.write(log.read_text() if log.exists() else "")
                raise
            if not arguments.json:
                print({name: round(value, 2) for name, value in rounds[-1].items()}, flush=True)
    medians = {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}
    print(json.dumps({"events": arguments.events, "rounds": arguments.rounds, "median": medians}, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
