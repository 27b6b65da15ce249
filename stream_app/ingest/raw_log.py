"""One partition of the raw topic: read from where its last transaction left off, written in transactions.

aiokafka's pitfalls shape this file as they do `backends/kafka.py` (RELIABILITY §2.1): whoever wrote before is fenced
first, only then the committed offset is read, and it is sought explicitly. The producer is the partition's own, as
offsets are sent without the group's generation; after any failure it is given up, for what it has under way may still
arrive.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata

from stream_app import topics
from stream_app.backends.clients import (
    Headers,
    KafkaClients,
    TransactionalProducer,
    all_acknowledged,
    filled_batches,
    kafka_call,
    next_offset,
    start_transactional,
    stop_quietly,
    transaction,
)
from stream_app.backends.group_commits import GroupCommits
from stream_app.backends.ports import LogError, UnusableError
from stream_app.backends.writers import dead_letter_record
from stream_app.ingest.adapting import Batch
from stream_app.ingest.target import Target
from stream_app.settings import Settings

#: Key, value and headers.
_Record: TypeAlias = tuple[bytes | None, bytes | None, Headers]

_RIVAL: Final = "another owner takes this partition in"


class RawLog:
    """One owner's side of one raw partition. `group_id` is that of the consumer.

    `take_over` comes first, and again after whatever has failed.
    """

    def __init__(
        self,
        settings: Settings,
        place: TopicPartition,
        *,
        group_id: str,
        clients: KafkaClients,
        consumer: AIOKafkaConsumer,
        admin: AIOKafkaAdminClient,
        commits: GroupCommits,
        target: Target,
    ) -> None:
        self._place, self._group_id, self._target = place, group_id, target
        self._clients, self._consumer, self._admin, self._commits = clients, consumer, admin, commits
        self._events, self._dead_letters = settings.topic(topics.EVENTS), settings.topic(topics.DEAD_LETTERS)
        self._transactional_id = f"{group_id}-{place.partition}"
        self._producer: TransactionalProducer | None = None
        #: the record to come next, and the topic's end where it was asked for
        self._next = self._told_end = 0

    @property
    def topic(self) -> str:
        """The raw topic's name."""
        return self._place.topic

    async def take_over(self) -> None:
        """Fence the former owner, and go on from the offset that it has left.

        Raises
        ------
        LogError
            If Kafka did not answer.
        UnusableError
            If that offset is not in the topic (any more).
        """
        await self.close()
        producer = self._clients.transactional_producer(self._transactional_id, client_id=self._group_id)
        await start_transactional("fencing the former owner", producer)
        self._producer = producer
        place = self._place
        stored = await kafka_call(
            "reading the committed offset",
            self._admin.list_consumer_group_offsets(self._group_id, partitions=[place]),
        )
        if place not in stored:
            # A coordinator that is loading gives an empty answer, and aiokafka drops the error that came with it. A
            # group that never committed is told as −1: taking one for the other would read the whole topic again.
            raise LogError(f"reading the committed offset: got an answer without {place}, the coordinator is not ready")
        start = (await kafka_call("reading the first offset", self._consumer.beginning_offsets([place])))[place]
        end = (await kafka_call("reading the end offset", self._consumer.end_offsets([place])))[place]
        offset = stored[place].offset if stored[place].offset >= 0 else start
        if not start <= offset <= end:
            raise UnusableError(
                f"{place.topic}-{place.partition}: got committed offset {offset}, expected {start} to {end}: records "
                "were deleted before they were read, or the topic was made again; decide what to do with the gap, and "
                f"set the offsets of group {self._group_id}"
            )
        self._next = offset
        try:
            self._consumer.seek(place, offset)
            self._consumer.resume(place)
        except (KafkaError, AssertionError) as error:
            raise LogError(f"seeking: {error!r}") from error

    async def poll(self, *, timeout_ms: int, records_max: int) -> Sequence[ConsumerRecord[Any, Any]]:
        """The next records, none if none came in time. Raises LogError, or UnusableError if some were deleted."""
        found = await kafka_call(
            "reading", self._consumer.getmany(self._place, timeout_ms=timeout_ms, max_records=records_max)
        )
        records: Sequence[ConsumerRecord[Any, Any]] = found.get(self._place, ())
        if records:
            if records[0].offset != self._next:
                await self._refuse_hole(records[0].offset)
            self._next = records[-1].offset + 1
        return records

    async def write(self, batch: Batch) -> None:
        """Write the batch and commit its offset, all or nothing.

        Raises
        ------
        FencedError
            If another owner has taken the partition over.
        LogError
            Anything else; whether it was written is known after the next `take_over`.
        """
        producer = self._producer
        if producer is None:
            raise LogError("writing: the producer was given up; take the partition over again")
        offsets = {self._place: OffsetAndMetadata(batch.next_offset, "")}
        try:
            async with transaction("writing", producer, rival=_RIVAL):
                await self._transact(producer, batch, offsets)
        except (Exception, asyncio.CancelledError):
            await asyncio.shield(self.close())
            raise
        if self._target.forgets_offsets:
            await self._commits.commit(offsets)

    async def close(self) -> None:
        """Give the producer up; what it has not committed never was."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_quietly(producer)

    def told_end(self, end: int) -> None:
        """Where the partition ends, newer than what was fetched: nobody fetches while a batch waits."""
        self._told_end = end

    def lag(self) -> int:
        """Records that were not polled yet; −1 while that is not known."""
        if self._place not in self._consumer.assignment():
            return -1
        position, fetched = next_offset(self._consumer, self._place), self._consumer.last_stable_offset(self._place)
        if position is None or fetched is None:
            return -1
        return max(0, max(int(fetched), self._told_end) - position)

    async def _transact(
        self, producer: TransactionalProducer, batch: Batch, offsets: dict[TopicPartition, OffsetAndMetadata]
    ) -> None:
        await producer.begin_transaction()
        now_ms = int(time.time() * 1000)
        outputs: list[tuple[str, int, Iterable[_Record]]] = [
            (self._events, partition, records) for partition, records in batch.events.items()
        ]
        letters = [dead_letter_record(letter) for letter in batch.letters]
        outputs.append((self._dead_letters, self._place.partition % self._target.letters_partitions, letters))
        waiting = [
            await producer.send_batch(filled, topic, partition=partition)
            for topic, partition, records in outputs
            for filled in filled_batches(producer, records, now_ms=now_ms)
        ]
        # Beside the records: it saves a round trip, and without every acknowledgement nothing is committed. (aiokafka
        # itself would commit although a batch failed.)
        sent = asyncio.ensure_future(producer.send_offsets_to_transaction(offsets, self._group_id))
        await all_acknowledged([*waiting, sent])
        await producer.commit_transaction()

    async def _refuse_hole(self, got: int) -> None:
        """Tell the ends of transactions, which take offsets too, from records that are gone."""
        starts = await kafka_call("reading the first offset", self._consumer.beginning_offsets([self._place]))
        if got < self._next or starts[self._place] > self._next:
            raise UnusableError(
                f"{self._place.topic}-{self._place.partition}: got offset {got}, expected {self._next}: records were "
                "deleted before they were read, or the topic was made again; decide what to do with the gap, and set "
                f"the offsets of group {self._group_id}"
            )
