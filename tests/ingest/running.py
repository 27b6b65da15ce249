"""`stream-app ingest --topic` as processes beside a deployment, its raw topic, and what it left."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError

from stream_app import topics
from stream_app.backends.child_process import free_port
from stream_app.backends.cluster_metadata import describe
from stream_app.ingest.ingester import group_of
from stream_app.settings import Settings
from tests.faults.launcher import VARIABLE, Plan
from tests.scenarios.deployment import PATIENCE_S, Deployment
from tests.scenarios.process import Process

#: Of a process here, so that the dead are noticed soon.
SESSION_TIMEOUT_MS = 3_000


class Message(NamedTuple):
    """A raw record to write."""

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None
    timestamp_ms: int | None = None


class Written(NamedTuple):
    """A record as it was read."""

    partition: int
    key: bytes | None
    value: bytes
    headers: dict[str, bytes]


def start(
    deployment: Deployment, topic: str, *arguments: str, logs: Path, plan: Plan | None = None, **flags: Any
) -> Process:
    """Run `stream-app ingest --topic …`; it ends with the deployment."""
    settings = deployment.settings
    told = {
        "kafka_bootstrap": settings.kafka_bootstrap,
        "topic_prefix": settings.topic_prefix,
        "group_id": settings.group_id,
        "check_crcs": settings.check_crcs,
        "session_timeout_ms": SESSION_TIMEOUT_MS,
        **flags,
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith("STREAM_APP_")}
    environment |= {f"STREAM_APP_{name}".upper(): str(value) for name, value in told.items()}
    module = "stream_app"
    if plan is not None:
        module, environment[VARIABLE] = "tests.faults.launcher", msgspec.json.encode(plan).decode()
    number, port = len(deployment.processes) + 1, free_port()
    process = Process(
        f"ingest {number}",
        [sys.executable, "-m", module, "ingest", "--topic", topic, "--web-port", str(port), *arguments],
        environment,
        port=port,
        log=logs / f"ingest-{number}.log",
    )
    deployment.processes.append(process)
    return process


async def create(settings: Settings, topic: str, partitions: int) -> None:
    """Make a raw topic, and wait until it shows."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1)])
        async with asyncio.timeout(PATIENCE_S):
            while not (await describe(admin._client, [topic])).topics[topic].exists:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await admin.close()


async def until_taken_in(settings: Settings, topic: str) -> None:
    """Wait until the committed offsets are the topic's ends."""
    group = group_of(settings, topic)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    await consumer.start()
    try:
        metadata = await consumer._client.fetch_all_metadata()
        places = [TopicPartition(topic, number) for number in sorted(metadata.partitions_for_topic(topic) or ())]
        ends = await consumer.end_offsets(places)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with suppress(GroupCoordinatorNotAvailableError):  # the group is not there yet
                    stored = await admin.list_consumer_group_offsets(group, partitions=places)
                    # A coordinator that is loading gives an empty answer.
                    if all(place in stored and max(stored[place].offset, 0) == end for place, end in ends.items()):
                        return
                await asyncio.sleep(0.1)
    finally:
        await consumer.stop()
        await admin.close()


async def send(settings: Settings, topic: str, messages: Iterable[Message]) -> None:
    """Write raw records; on the embedded Kafka that makes the topic."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap, enable_idempotence=True, acks="all")
    await producer.start()
    try:
        for message in messages:
            await producer.send(
                topic,
                message.value,
                key=message.key,
                headers=list(message.headers),
                partition=message.partition,
                timestamp_ms=message.timestamp_ms,
            )
        await producer.flush()
    finally:
        await producer.stop()


async def read(settings: Settings, topic: str) -> list[Written]:
    """All committed records of one of our topics, in offset order per partition."""
    name = settings.topic(topic)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        isolation_level="read_committed",
        check_crcs=settings.check_crcs,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        metadata = await consumer._client.fetch_all_metadata()
        places = [TopicPartition(name, number) for number in sorted(metadata.partitions_for_topic(name) or ())]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        found: list[Written] = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, records in (await consumer.getmany(timeout_ms=200)).items():
                found += [Written(place.partition, one.key, one.value, dict(one.headers)) for one in records]
        return found
    finally:
        await consumer.stop()


async def read_events(settings: Settings) -> list[tuple[Written, dict[str, Any]]]:
    """The canonical events, each with its fields."""
    return [(one, msgspec.json.decode(one.value)) for one in await read(settings, topics.EVENTS)]
