"""What the examples read: scores of a real worker with `exactly_once`, offers, repetitions, transactions given up."""

from __future__ import annotations

import asyncio
import time
import uuid
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from producers.synthetic.shop import Shop
from stream_app import topics
from stream_app.backends.clients import KafkaClients
from stream_app.core.events import Event
from stream_app.discounts.core import records
from stream_app.discounts.core.records import Offer, exposure_id
from stream_app.settings import Settings
from tests.scenarios.deployment import Deployment
from tests.support.fixtures import Names, Servers

EVENTS: Final = 3_000
PARTITIONS: Final = 4
#: Of the scores.
OFFERED_ONE_IN: Final = 10
REPEATED_ONE_IN: Final = 20

#: Topic (as called here) and id.
Name = tuple[str, str]

_ID: Final = {topics.SCORES: "event_id", topics.OFFERS: "offer_id"}


class Published(NamedTuple):
    """`expected`: every committed record, once. `last`: of each partition the offset of its last record."""

    settings: Settings
    expected: frozenset[Name]
    last: dict[tuple[str, int], int]


async def publish(servers: Servers) -> Published:
    """Run the shop through a worker, then add what a reader must not fall for."""
    unique = uuid.uuid4().hex[:8]
    names = Names(f"examples-{unique}.", f"examples-{unique}")
    flags: dict[str, Any] = {"processing_guarantee": "exactly_once", "topic_partitions": PARTITIONS}
    async with Deployment(servers, names, **flags) as deployment:
        running = deployment.start("run")
        await deployment.send(_shop())
        await deployment.until_all_scored(EVENTS)
        await deployment.until_caught_up()
        assert running.terminate() == 0
        settings = deployment.settings
        scores = [(partition, score) for partition, score, _ in await deployment.read(topics.SCORES)]
        assert len(scores) == EVENTS
        offers = [_offer(score) for _, score in scores[::OFFERED_ONE_IN]]
        await _send(settings, topics.OFFERS, offers)
        await _repeat(settings, scores[::REPEATED_ONE_IN])
        for compression in ("lz4", "zstd"):
            await _give_up(settings, compression)
    committed = await _read(settings, "read_committed")
    everything = await _read(settings, "read_uncommitted")
    given_up = {name for name in everything if name[1].startswith("given-up")}
    assert len(given_up) == 2 * 2 * PARTITIONS
    assert everything.keys() - committed.keys() == given_up
    last: dict[tuple[str, int], int] = {}
    for (topic, _), (partition, offset) in committed.items():
        last[topic, partition] = max(last.get((topic, partition), -1), offset)
    assert len(committed) == EVENTS + len(offers)
    return Published(settings, frozenset(committed), last)


def _shop() -> list[Event]:
    start_ms = int(time.time() * 1000) - 20 * 24 * 3600 * 1000
    shop = Shop(seed=13, start_ms=start_ms, sessions_per_hour=3_000.0)
    return list(islice((fact for fact in shop if isinstance(fact, Event)), EVENTS))


def _offer(score: dict[str, Any]) -> Offer:
    """As the discounts' core would make it of this score, each for a decision of its own."""
    return Offer(
        offer_id=exposure_id("examples", score["visitor_id"], score["event_id"]),
        visitor_id=score["visitor_id"],
        session_id=score["session_id"],
        percent=10.0,
        reason="quiet",
        score=score["score"],
        arm="treatment",
        issued_at=score["scored_at"],
        expires_at=score["scored_at"] + 1_800_000,
        experiment="examples",
        policy="p1",
    )


async def _send(settings: Settings, topic: str, offers: list[Offer]) -> None:
    """By a producer as the application's own."""
    async with KafkaClients(settings).producer(client_id="offers") as producer:
        for offer in offers:
            await producer.send(settings.topic(topic), records.encode(offer), key=offer.visitor_id.encode())
        await producer.flush()


async def _repeat(settings: Settings, scores: list[tuple[int, dict[str, Any]]]) -> None:
    """As after a crash with `at_least_once`; as another client compresses with LZ4, the blocks with checksums."""
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap, compression_type="lz4") as producer:
        for partition, score in scores:
            value, key = msgspec.json.encode(score), score["visitor_id"].encode()
            await producer.send(settings.topic(topics.SCORES), value, key=key, partition=partition)
        await producer.flush()


async def _give_up(settings: Settings, compression: str) -> None:
    """A transaction with a record in every partition, aborted."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap,
        transactional_id=f"{settings.namespace}-{compression}",
        compression_type=compression,
    )
    async with producer:
        await producer.begin_transaction()
        for topic, field in _ID.items():
            for partition in range(PARTITIONS):
                value = {"visitor_id": "nobody", field: f"given-up-{compression}-{partition}", "percent": 99.0}
                await producer.send_and_wait(settings.topic(topic), msgspec.json.encode(value), partition=partition)
        await producer.abort_transaction()


async def _read(settings: Settings, isolation: str) -> dict[Name, tuple[int, int]]:
    """Every record of both topics: name → partition and offset of its last appearance."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap, isolation_level=isolation, auto_offset_reset="earliest"
    )
    found: dict[Name, tuple[int, int]] = {}
    async with consumer:
        places = [TopicPartition(settings.topic(topic), partition) for topic in _ID for partition in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        async with asyncio.timeout(30):
            while any([await consumer.position(place) < ends[place] for place in places]):
                for place, batch in (await consumer.getmany(timeout_ms=200)).items():
                    kind = place.topic.removeprefix(settings.topic_prefix)
                    for record in batch:
                        name = (place.topic, msgspec.json.decode(record.value or b"")[_ID[kind]])
                        found[name] = (place.partition, record.offset)
    return found
