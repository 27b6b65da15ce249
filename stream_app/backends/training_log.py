"""The trainer's side of Kafka: examples in, snapshots out; and the scorers' side of the snapshots.

Snapshots are written in one transaction, entries and head together; the transactional id also fences a trainer that
another one has replaced. Who may learn is decided by a consumer group on the one-partition snapshots topic: its single
member with the partition is the trainer, the others stand by.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener

from stream_app import topics
from stream_app.backends.clients import (
    KafkaClients,
    TransactionalProducer,
    all_acknowledged,
    ended,
    filled_batches,
    kafka_call,
    next_offset,
    start_client,
    start_transactional,
    stop_quietly,
    transaction,
)
from stream_app.backends.newest import places_of
from stream_app.backends.ports import LogError, UnusableError
from stream_app.backends.pulse import KafkaPulse
from stream_app.core.processor import Record
from stream_app.core.snapshots import SIGNATURE_HEADER, Signed, signature_of
from stream_app.settings import Settings

#: How long a fetch waits for new records: what is learned and what is served stay fresh.
_FETCH_WAIT_MS = 100


class SnapshotTail:
    """Reads `model.snapshots.v1` from its start and then follows it, committed records only."""

    def __init__(self, settings: Settings, clients: KafkaClients) -> None:
        self._clients = clients
        self._place = TopicPartition(settings.topic(topics.SNAPSHOTS), 0)
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Begin at the oldest record. Raises LogError."""
        consumer = self._clients.reader(fetch_wait_ms=_FETCH_WAIT_MS)
        await start_client("starting to follow the snapshots", consumer)
        consumer.assign([self._place])
        self._consumer = consumer

    async def end(self) -> int:
        """The next offset of the topic, as it is now."""
        assert self._consumer is not None
        ends = await kafka_call("reading the snapshots' end", self._consumer.end_offsets([self._place]))
        return int(ends[self._place])

    async def feel(self, pulse: KafkaPulse) -> None:
        """Ask Kafka for a sign of life."""
        assert self._consumer is not None
        await pulse.check(self._consumer, [self._place])

    async def position(self) -> int:
        """The next offset to read."""
        assert self._consumer is not None
        return int(await kafka_call("following the snapshots", self._consumer.position(self._place)))

    async def poll(self, *, timeout_ms: int) -> list[tuple[bytes | None, bytes | None, bytes | None]]:
        """New records as key, value, signature."""
        assert self._consumer is not None
        _refuse_ended(self._consumer)
        found = await kafka_call("following the snapshots", self._consumer.getmany(timeout_ms=timeout_ms))
        return [
            (record.key, record.value, signature_of(record.headers)) for records in found.values() for record in records
        ]

    async def stop(self) -> None:
        """Close."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_quietly(consumer)


class SnapshotWriter:
    """Writes snapshots, each in one transaction. `start` fences whoever wrote before."""

    def __init__(self, settings: Settings, clients: KafkaClients) -> None:
        self._clients = clients
        self._topic = settings.topic(topics.SNAPSHOTS)
        self._client_id = f"{settings.group_id}-trainer"
        self._transactional_id = f"{settings.namespace}-trainer"
        self._producer: TransactionalProducer | None = None

    async def start(self) -> None:
        """Fence the former trainer. Raises LogError."""
        producer = self._clients.transactional_producer(self._transactional_id, client_id=self._client_id)
        await start_transactional("starting the snapshot writer", producer)
        self._producer = producer

    async def write(self, records: Sequence[Signed]) -> None:
        """Write all records or none.

        Raises FencedError if another trainer has taken over, LogError otherwise; the writer must then be thrown away.
        """
        producer = self._producer
        assert producer is not None
        async with transaction("writing a snapshot", producer, rival="another trainer writes the snapshots"):
            await producer.begin_transaction()
            # Sent one by one, thousands of entries cost as much as learning what is in them.
            signed = ((key, value, [(SIGNATURE_HEADER, signature)]) for key, value, signature in records)
            batches = filled_batches(producer, signed, now_ms=int(time.time() * 1000))
            sent = [await producer.send_batch(batch, self._topic, partition=0) for batch in batches]
            # aiokafka commits even when a batch failed: wait for each acknowledgement first.
            await all_acknowledged(sent)
            await producer.commit_transaction()

    async def stop(self) -> None:
        """Close."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_quietly(producer)


class ExampleLog:
    """Reads every partition of `training.examples.v1` from given offsets, committed records only."""

    def __init__(self, settings: Settings, clients: KafkaClients) -> None:
        self._clients = clients
        self._topic = settings.topic(topics.EXAMPLES)
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self, offsets: dict[int, int]) -> list[str]:
        """Begin at the offsets, at the first kept record where none is given; what was deleted unread, in words.

        Raises
        ------
        LogError
            If Kafka did not answer.
        UnusableError
            If an offset lies beyond the log: the topic was made again, and its records have the old ones' positions.
        """
        consumer = self._clients.reader(fetch_wait_ms=_FETCH_WAIT_MS)
        await start_client("starting to read the examples", consumer)
        self._consumer = consumer
        places = await places_of(consumer, self._topic)
        consumer.assign(places)
        starts = await kafka_call("reading the first offsets", consumer.beginning_offsets(places))
        ends = await kafka_call("reading the end offsets", consumer.end_offsets(places))
        gaps = []
        for place in places:
            wanted = offsets.get(place.partition, starts[place])
            if wanted > ends[place]:
                raise UnusableError(
                    f"{place.topic}-{place.partition}: the model has learned up to offset {wanted}, the log ends at "
                    f"{ends[place]}: the topic was made again; give the model a topic prefix of its own"
                )
            if wanted < starts[place]:
                gaps.append(f"{place}: examples {wanted} to {starts[place]} were deleted unread")
            consumer.seek(place, max(wanted, starts[place]))
        return gaps

    async def poll(self, *, timeout_ms: int, records_max: int) -> list[tuple[int, Record]]:
        """New records as (partition, record), in offset order within each partition."""
        assert self._consumer is not None
        _refuse_ended(self._consumer)
        found = await kafka_call(
            "reading the examples", self._consumer.getmany(timeout_ms=timeout_ms, max_records=records_max)
        )
        return [(place.partition, record) for place, records in found.items() for record in records]

    def lag(self) -> int:
        """Records not read yet, as far as the last fetches have told."""
        assert self._consumer is not None
        lag = 0
        for place in self._consumer.assignment():
            end = self._consumer.last_stable_offset(place)
            position = next_offset(self._consumer, place)
            if end is not None and position is not None:
                lag += max(0, end - position)
        return lag

    async def stop(self) -> None:
        """Close."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_quietly(consumer)


class TrainerElection(ConsumerRebalanceListener):
    """Whether this process is the one that may learn."""

    def __init__(self, settings: Settings, clients: KafkaClients) -> None:
        self._clients = clients
        self._client_id = f"{settings.group_id}-trainer"
        self._group = f"{settings.namespace}-trainer"
        self._topic = settings.topic(topics.SNAPSHOTS)
        self._consumer: AIOKafkaConsumer | None = None
        self.elected = asyncio.Event()
        self.lost = asyncio.Event()

    @property
    def started(self) -> bool:
        """Whether we stand for election."""
        return self._consumer is not None

    async def touch(self) -> None:
        """Take what the client has met: an error in a rebalance stays with it until it is polled."""
        assert self._consumer is not None
        if reason := ended(self._consumer):
            await self.stop()
            raise LogError(f"the client's {reason}")
        await kafka_call("standing for trainer", self._consumer.getmany(timeout_ms=0))

    async def start(self) -> None:
        """Stand for election. Raises LogError."""
        consumer = self._clients.member(self._group, client_id=self._client_id)
        consumer.subscribe([self._topic], listener=self)
        self._consumer = consumer
        try:
            await start_client("standing for trainer", consumer)
        except LogError:
            self._consumer = None
            raise

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Lost: another may learn now."""
        if any(place.partition == 0 for place in revoked):
            self.elected.clear()
            self.lost.set()

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Won if partition 0 is ours; nothing is read from it."""
        assert self._consumer is not None
        self._consumer.pause(*assigned)
        if any(place.partition == 0 for place in assigned):
            self.lost.clear()
            self.elected.set()

    async def stop(self) -> None:
        """Leave, so that another is elected at once."""
        consumer, self._consumer = self._consumer, None
        self.elected.clear()
        if consumer is not None:
            await stop_quietly(consumer)


def _refuse_ended(consumer: AIOKafkaConsumer) -> None:
    if reason := ended(consumer):
        raise LogError(f"the client's {reason}")
