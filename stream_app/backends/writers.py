"""What a batch came to, into Kafka: one writer for each processing guarantee.

`AtLeastOnceWriter`: a batch's outputs are acknowledged, then the changelog is; a commit has the offsets that the view
has reached, and in its metadata what comes next (`announcing.py`). Readers see an output at once. The commit is also
what fences: the group takes none from a worker that it has given up.

`ExactlyOnceWriter`: outputs, changelog, offsets and metadata are one transaction of a producer that belongs to the
partition. Its id fences: aiokafka commits offsets without the group's generation, so the group would not (#844).

Neither uses a producer again after a failure, a time-out or a cancelled call: what such a producer has under way may
still arrive (RELIABILITY §2.1).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import OffsetAndMetadata

from stream_app import topics
from stream_app.backends.clients import (
    BATCH_BYTES_MAX,
    FAILURES,
    Headers,
    KafkaClients,
    TransactionalProducer,
    all_acknowledged,
    filled_batches,
    start_client,
    start_transactional,
    stop_quietly,
    transaction,
)
from stream_app.backends.group_commits import GroupCommits
from stream_app.backends.ports import LogError
from stream_app.backends.prepared_batch import PreparedBatch
from stream_app.beside import beside
from stream_app.core.effects import DeadLetter, Effects, Keyed, Position, encode_position
from stream_app.core.native import engine
from stream_app.settings import Settings

#: How long a batch may take to be acknowledged before its producer counts as failed: as long as one request, and well
#: before a partition counts as stuck. (The client waits for ever on a producer that another partition has stopped.)
PUBLISH_S_MAX: Final = 15.0

#: Key and value of a dead letter: the topic takes 2 MiB (`topics.py`), and the reason in the headers and the batch
#: around it need room. What is longer is cut: an events topic that takes more than the default 1 MiB was told to.
DEAD_LETTER_BYTES_MAX: Final = 2_000_000


class PartitionWriter(Protocol):
    """The writing half of `ports.PartitionLog`. Positions come stamped."""

    #: see `ports.PartitionLog`
    atomic: bool

    async def fence(self) -> None:
        """Take the right to write from the former owner, where Kafka can."""
        ...

    def read_up_to(self, changelog_end: int) -> None:
        """The changelog up to here has been looked at by who takes over."""
        ...

    def refuse_intruders(self, changelog_end: int) -> None:
        """Raise LogError if the changelog has more than was looked at or written by us."""
        ...

    async def publish(self, effects: Effects) -> int:
        """Write all of a batch; the changelog's next offset, −1 if nothing went there."""
        ...

    async def commit(self, position: Position) -> None:
        """Commit a position whose states have reached the view, and what is planned after it."""
        ...

    async def close(self) -> None:
        """Give up what is the partition's own."""
        ...


class SharedProducer:
    """The idempotent producer of a worker's partitions. One that failed is replaced, never used again."""

    def __init__(self, clients: KafkaClients, *, client_id: str) -> None:
        self._clients = clients
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()

    async def get(self) -> AIOKafkaProducer:
        """The running producer."""
        async with self._lock:
            if self._producer is None:
                producer = self._clients.producer(client_id=self._client_id)
                await start_client("starting the producer", producer)
                self._producer = producer
            return self._producer

    async def discard(self, producer: AIOKafkaProducer) -> None:
        """Stop a producer that failed; the next `get` starts another."""
        async with self._lock:
            if self._producer is producer:
                self._producer = None
        await stop_quietly(producer)

    async def close(self) -> None:
        """Stop."""
        async with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            await stop_quietly(producer)


class AtLeastOnceWriter:
    """Outputs, then the changelog, each acknowledged; offsets committed apart, by the group's member."""

    atomic = False

    def __init__(self, settings: Settings, partition: int, *, commits: GroupCommits, producer: SharedProducer) -> None:
        self._sender = _Sender(settings, partition, transactional=False)
        self._commits, self._shared = commits, producer
        #: the changelog's next offset if nobody else writes to it; −1 not known
        self._changelog_next = -1
        self._intruder = ""

    async def fence(self) -> None:
        """Nothing to do: the first announcement tells whether the group has given the partition to us."""
        self._changelog_next, self._intruder = -1, ""

    def read_up_to(self, changelog_end: int) -> None:
        """What comes before our own first batch, and after this, is an intruder's."""
        self._changelog_next = changelog_end

    def refuse_intruders(self, changelog_end: int) -> None:
        """See `PartitionWriter`."""
        if -1 < self._changelog_next < changelog_end:
            raise LogError(self._went_on_to(changelog_end))

    async def publish(self, effects: Effects) -> int:
        """See `PartitionWriter`. Raises LogError if somebody else wrote to the changelog: take over, and look at it."""
        if self._intruder:
            raise LogError(self._intruder)
        producer = await self._shared.get()
        try:
            async with asyncio.timeout(PUBLISH_S_MAX):
                await all_acknowledged(await self._sender.outputs(producer, effects))
                written = await self._sender.changelog(producer, effects)
                acknowledged = await all_acknowledged([future for future, _ in written])
        except FAILURES as error:
            await self._shared.discard(producer)
            raise LogError(f"writing: {error!r}") from error
        except asyncio.CancelledError:
            # What was sent may still arrive: nobody else must find this producer in the middle of it.
            await asyncio.shield(self._shared.discard(producer))
            raise
        if not written:
            return -1
        first = int(acknowledged[0].offset)
        if self._changelog_next not in (-1, first):
            # A former owner woke up with states in its hands. They are older, but compaction would keep the last:
            # taking over again writes ours once more.
            # The view contains this batch, but not what lies before it: from there on the changelog is read.
            self._intruder = self._went_on_to(first)
            return self._changelog_next
        self._changelog_next = _next_offset(acknowledged, written)
        return self._changelog_next

    async def commit(self, position: Position) -> None:
        """See `PartitionWriter`. Raises LogError as `publish` does, or if the group does not know us any more."""
        if self._intruder:
            raise LogError(self._intruder)
        await self._commits.commit(self._sender.offsets(position))

    async def close(self) -> None:
        """Nothing to do: the producer is the worker's."""

    def _went_on_to(self, offset: int) -> str:
        return f"the changelog went on from {self._changelog_next} to {offset} without us"


class ExactlyOnceWriter:
    """One transaction a batch, of the partition's own producer."""

    atomic = True

    def __init__(self, settings: Settings, partition: int, *, clients: KafkaClients) -> None:
        self._sender = _Sender(settings, partition, transactional=True)
        self._clients = clients
        self._group_id = settings.group_id
        self._client_id = f"{settings.group_id}-worker"
        self._transactional_id = f"{settings.namespace}-{partition}"
        self._producer: TransactionalProducer | None = None

    async def fence(self) -> None:
        """Start a producer under the partition's id: the former one can commit nothing any more."""
        await self.close()
        producer = self._clients.transactional_producer(self._transactional_id, client_id=self._client_id)
        await start_transactional("fencing the former owner", producer)
        self._producer = producer

    def read_up_to(self, changelog_end: int) -> None:
        """Nothing to do: nobody else can write."""

    def refuse_intruders(self, changelog_end: int) -> None:
        """Nothing to do, for the same reason."""

    async def publish(self, effects: Effects) -> int:
        """See `PartitionWriter`. Raises FencedError if another owner has started its producer."""
        producer = self._producer
        if producer is None:
            raise LogError("writing: the producer was given up; take the partition over again")
        try:
            async with transaction("writing", producer, rival="another owner writes to this partition"):
                return await self._transact(producer, effects)
        except (Exception, asyncio.CancelledError):
            await asyncio.shield(self.close())
            raise

    async def commit(self, position: Position) -> None:
        """Nothing to do: the transaction had the offsets."""

    async def close(self) -> None:
        """Stop the producer; what it has not committed never was."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_quietly(producer)

    async def _transact(self, producer: TransactionalProducer, effects: Effects) -> int:
        await producer.begin_transaction()
        waiting = await self._sender.outputs(producer, effects)
        written = await self._sender.changelog(producer, effects)
        # Beside the records, not after them: it saves a round trip, and without every acknowledgement nothing is
        # committed. (aiokafka itself would commit although a batch failed.)
        offsets = asyncio.ensure_future(
            producer.send_offsets_to_transaction(self._sender.offsets(effects.position), self._group_id)
        )
        acknowledged = await all_acknowledged([*(future for future, _ in written), *waiting, offsets])
        await producer.commit_transaction()
        return _next_offset(acknowledged, written) if written else -1


class _Sender:
    """Puts a batch's records into as few record batches as fit."""

    def __init__(self, settings: Settings, partition: int, *, transactional: bool) -> None:
        self._partition, self._transactional = partition, transactional
        self._native = engine(settings.engine)
        self._events = TopicPartition(settings.topic(topics.EVENTS), partition)
        self._labels = TopicPartition(settings.topic(topics.LABELS), partition)
        self._changelog = settings.topic(topics.CHANGELOG)
        self._dead_letters = settings.topic(topics.DEAD_LETTERS)
        self._scores = settings.topic(topics.SCORES)
        self._outputs: list[tuple[str, Callable[[Effects], Sequence[Keyed]]]] = [
            (self._scores, lambda effects: effects.scores),
            (settings.topic(topics.FEATURES), lambda effects: effects.features),
            (settings.topic(topics.EXAMPLES), lambda effects: effects.examples),
            (settings.topic(topics.CLOSED), lambda effects: effects.closed),
            (settings.topic(topics.MOMENTS), lambda effects: effects.moments),
        ]

    async def outputs(self, producer: AIOKafkaProducer, effects: Effects) -> list[asyncio.Future[Any]]:
        """Send all but the changelog; what to wait for."""
        waiting: list[asyncio.Future[Any]] = []
        for topic, records in self._outputs:
            carried = effects.score_headers if topic == self._scores else {}
            waiting += [future for future, _ in await self._send(producer, topic, records(effects), carried)]
        for letter in effects.dead_letters:
            key, value, headers = dead_letter_record(letter)
            waiting.append(await producer.send(self._dead_letters, value, key=key, headers=headers))
        return waiting

    async def changelog(self, producer: AIOKafkaProducer, effects: Effects) -> list[tuple[asyncio.Future[Any], int]]:
        """Send the states; of each record batch its acknowledgement and its size."""
        states = [(visitor.encode(), blob) for visitor, blob in effects.states.items()]
        written = [(key, blob) for key, blob in states if blob is not None]
        if len(written) == len(states):
            return await self._send(producer, self._changelog, written)
        # Tombstones are so rare that the engine's records have none.
        return await self._send_all(producer, self._changelog, filled_batches(
            producer, ((key, blob, ()) for key, blob in states), now_ms=int(time.time() * 1000)
        ))  # fmt: skip

    def offsets(self, position: Position) -> dict[TopicPartition, OffsetAndMetadata]:
        """What to commit for a position."""
        metadata = encode_position(position).decode()
        return {
            self._events: OffsetAndMetadata(position.events_offset, metadata),
            self._labels: OffsetAndMetadata(position.labels_offset, ""),
        }

    async def _send(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        records: Sequence[Keyed],
        headers: Mapping[str, Headers] = MappingProxyType({}),
    ) -> list[tuple[asyncio.Future[Any], int]]:
        now_ms = int(time.time() * 1000)
        filled: Iterable[BatchBuilder]
        # The engine's records have no headers: a batch with traced events in it takes the longer way.
        if self._native is not None and not headers:
            filled = await self._prepared(records, now_ms)
        else:
            filled = self._filled(producer, records, now_ms, headers)
        return await self._send_all(producer, topic, filled)

    async def _send_all(
        self, producer: AIOKafkaProducer, topic: str, filled: Iterable[BatchBuilder]
    ) -> list[tuple[asyncio.Future[Any], int]]:
        return [
            (await producer.send_batch(batch, topic, partition=self._partition), batch.record_count())
            for batch in filled
        ]

    def _filled(
        self, producer: AIOKafkaProducer, records: Sequence[Keyed], now_ms: int, headers: Mapping[str, Headers]
    ) -> Iterator[BatchBuilder]:
        given = ((key, value, headers.get(_event_id(value), ()) if headers else ()) for key, value in records)
        return filled_batches(producer, given, now_ms=now_ms)

    async def _prepared(self, records: Sequence[Keyed], now_ms: int) -> list[PreparedBatch]:
        """Record batches as `filled_batches` makes them, by the compiled engine."""
        assert self._native is not None
        given = records if isinstance(records, self._native.RecordList) else self._native.RecordList.of(records)
        made = await beside(len(given), given.batches, BATCH_BYTES_MAX)
        return [PreparedBatch(count, body, timestamp=now_ms, transactional=self._transactional) for count, body in made]


class _Id(msgspec.Struct):
    event_id: str


_ID: Final = msgspec.json.Decoder(_Id)


def _event_id(score: bytes) -> str:
    return _ID.decode(score).event_id


def _next_offset(acknowledged: list[Any], written: list[tuple[asyncio.Future[Any], int]]) -> int:
    """The offset after the last record batch: an acknowledgement carries the offset of its first record."""
    return int(acknowledged[len(written) - 1].offset) + written[-1][1]


def dead_letter_record(letter: DeadLetter) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
    """Key, value and headers: the bytes as they came, why they were rejected and where they were."""
    key, value = letter.key, letter.value
    headers = [
        ("reason", letter.reason.encode()),
        ("detail", letter.detail[:1000].encode()),
        ("source_topic", letter.topic.encode()),
        ("source_partition", str(letter.partition).encode()),
        ("source_offset", str(letter.offset).encode()),
    ]
    size = len(key or b"") + len(value or b"")
    if size > DEAD_LETTER_BYTES_MAX:
        headers.append(("cut_from_bytes", str(size).encode()))
        key = key[:DEAD_LETTER_BYTES_MAX] if key is not None else None
        value = value[: DEAD_LETTER_BYTES_MAX - len(key or b"")] if value is not None else None
    # The client refuses a record without key and value; brokers take them, so they come in.
    return key, b"" if key is None and value is None else value, headers
