"""One partition's side of Kafka, on aiokafka: input, restore and offsets here, outputs in `writers.py`.

aiokafka's pitfalls that shape this file (RELIABILITY §2.1): offsets are fetched by us, after fencing, and sought
explicitly; listener exceptions are swallowed, so nothing here relies on one.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from stream_app import topics
from stream_app.backends.changelog_reading import ChangelogReading
from stream_app.backends.clients import kafka_call, next_offset
from stream_app.backends.ports import Committed, LogError, Polled, UnusableError
from stream_app.backends.writers import PartitionWriter
from stream_app.core.effects import Effects, Position, decode_position
from stream_app.settings import Settings

#: A restore that reads nothing for this long will not finish: the changelog's leader is gone.
RESTORE_PROGRESS_S_MAX: Final = 30.0


class KafkaPartitionLog:
    """`PartitionLog` on Kafka; what the guarantee decides is the writer's.

    `partitions` and `topic_ids` are what the topics have now; a commit that was made for others is refused.
    """

    def __init__(
        self,
        settings: Settings,
        partition: int,
        *,
        reading: ChangelogReading,
        consumer: AIOKafkaConsumer,
        admin: AIOKafkaAdminClient,
        writer: PartitionWriter,
        partitions: int,
        topic_ids: list[str],
    ) -> None:
        self._settings = settings
        self.partition = partition
        self._reading, self._consumer, self._admin, self._writer = reading, consumer, admin, writer
        self._partitions, self._topic_ids = partitions, topic_ids
        self.atomic = writer.atomic
        #: the offsets of the records to come next, as far as known
        self._next: dict[TopicPartition, int] = {}
        #: ends that were asked for: what was fetched last may be long ago
        self._ends: dict[TopicPartition, int] = {}
        self._events = TopicPartition(settings.topic(topics.EVENTS), partition)
        self._labels = TopicPartition(settings.topic(topics.LABELS), partition)
        self._changelog = TopicPartition(settings.topic(topics.CHANGELOG), partition)

    async def take_over(self) -> Committed:
        """See `ports.PartitionLog`."""
        # First of all: what is committed is settled only when the former owner's transaction is.
        await self._writer.fence()
        both = [self._events, self._labels]
        stored = await kafka_call(
            "reading the committed offsets",
            self._admin.list_consumer_group_offsets(self._settings.group_id, partitions=both),
        )
        if not all(place in stored for place in both):
            # A coordinator that is loading or moving gives an empty answer; aiokafka drops the error that came with it.
            # A group that never committed is told as -1: taking one for the other would read the whole log again.
            raise LogError(f"reading the committed offsets: got an answer without {both}, the coordinator is not ready")
        starts = await kafka_call("reading the first offsets", self._consumer.beginning_offsets(both))
        ends = await kafka_call("reading the end offsets", self._consumer.end_offsets(both))
        offsets = []
        for place in both:
            offset = stored[place].offset
            if offset < 0:
                offset = starts[place]
            if not starts[place] <= offset <= ends[place]:
                raise UnusableError(
                    f"{place.topic}-{place.partition}: got committed offset {offset}, expected {starts[place]} to "
                    f"{ends[place]}: records were deleted before they were read, or the topic was made again; decide "
                    "what to do with the gap and reset the group's offsets"
                )
            offsets.append(offset)
        metadata = stored[self._events].metadata
        position = decode_position(metadata)
        if metadata and position is None:
            raise UnusableError(
                f"{self._events.topic}-{self.partition}: got commit metadata {metadata[:80]!r}, expected a position of "
                "this version: run the version that wrote it, or set the group's offsets anew, without metadata"
            )
        if position is not None:
            if (planned := position.planned) is not None:
                self._refuse_beyond(planned.events_to, ends[self._events])
                self._refuse_beyond(planned.labels_to, ends[self._labels])
            self._refuse_other_topics(position)
            if stored[self._labels].offset < 0:
                raise UnusableError(
                    f"{self._labels.topic}-{self.partition}: got no committed offset, expected one beside that of the "
                    "events: the topic was deleted and made again; start a new group id and topic prefix"
                )
        begun = stored[self._events].offset >= 0
        found = self._stamp(position) if position else None
        return Committed(offsets[0], offsets[1], found, int(ends[self._events]), begun)

    async def knows(self, position: Position) -> bool:
        """See `ports.PartitionLog`."""
        if not all(self._topic_ids) or position.topic_ids != self._topic_ids or position.partitions != self._partitions:
            return False
        both = [self._events, self._labels]
        starts = await kafka_call("reading the first offsets", self._consumer.beginning_offsets(both))
        ends = await kafka_call("reading the end offsets", self._consumer.end_offsets(both))
        offsets = {self._events: position.events_offset, self._labels: position.labels_offset}
        return all(starts[place] <= offset <= ends[place] for place, offset in offsets.items())

    async def seek(self, *, events_offset: int, labels_offset: int) -> None:
        """See `ports.PartitionLog`."""
        self._next = {self._events: events_offset, self._labels: labels_offset}
        try:
            for place, offset in self._next.items():
                self._consumer.seek(place, offset)
            self._consumer.resume(self._events, self._labels)
        except (KafkaError, AssertionError) as error:
            raise LogError(f"seeking: {error!r}") from error

    async def poll(self, *, timeout_ms: int, records_max: int, labels: bool = True) -> Polled:
        """See `ports.PartitionLog`."""
        places = (self._events, self._labels) if labels else (self._events,)
        found = await kafka_call(
            "reading", self._consumer.getmany(*places, timeout_ms=timeout_ms, max_records=records_max)
        )
        for place, records in found.items():
            if records[0].offset != self._next.get(place):
                await self._refuse_holes(place, self._next.get(place, 0), records[0].offset)
            self._next[place] = records[-1].offset + 1
        events: Sequence[ConsumerRecord[Any, Any]] = found.get(self._events, ())
        told: Sequence[ConsumerRecord[Any, Any]] = found.get(self._labels, ())
        return Polled(events, told, not found and self.lag() == 0)

    async def publish(self, effects: Effects) -> int:
        """See `ports.PartitionLog`."""
        self._stamp(effects.position)
        return await self._writer.publish(effects)

    async def commit(self, position: Position) -> None:
        """See `ports.PartitionLog`."""
        await self._writer.commit(self._stamp(position))

    async def check(self) -> None:
        """See `ports.PartitionLog`."""
        ends = await kafka_call("looking at the changelog's end", self._consumer.end_offsets([self._changelog]))
        self._writer.refuse_intruders(int(ends[self._changelog]))

    async def close(self) -> None:
        """See `ports.PartitionLog`."""
        await self._writer.close()

    async def position(self) -> tuple[int, int]:
        """See `ports.PartitionLog`."""
        events = await kafka_call("reading", self._consumer.position(self._events))
        return int(events), int(await kafka_call("reading", self._consumer.position(self._labels)))

    async def changelog_end(self) -> int:
        """See `ports.PartitionLog`."""
        end = await self._reading.end(self._changelog)
        self._writer.read_up_to(end)
        return end

    async def changelog(self, *, start: int, end: int) -> AsyncIterator[list[tuple[str, bytes | None]]]:
        """See `ports.PartitionLog`."""
        async with self._reading.lent() as consumer:
            first = await kafka_call("restoring", consumer.beginning_offsets([self._changelog]))
            # In one go, or the client would begin to fetch from the first offset.
            consumer.assign([self._changelog])
            consumer.seek(self._changelog, max(start, first[self._changelog]))
            progress = time.monotonic()
            # Position, not the last record's offset: transaction markers and compaction leave offsets without records.
            while await kafka_call("restoring", consumer.position(self._changelog)) < end:
                found = await kafka_call("restoring", consumer.getmany(timeout_ms=500, max_records=5_000))
                if found:
                    progress = time.monotonic()
                elif time.monotonic() - progress > RESTORE_PROGRESS_S_MAX:
                    raise LogError(f"restoring: no progress for {RESTORE_PROGRESS_S_MAX:g} s before offset {end}")
                for records in found.values():
                    named = ((_visitor(record), record) for record in records if record.offset < end)
                    yield [(visitor, record.value) for visitor, record in named if visitor is not None]

    def told_end(self, place: TopicPartition, end: int) -> None:
        """The end of one of the inputs, newer than what was fetched: nobody fetches while a batch waits."""
        self._ends[place] = end

    def lag(self) -> int:
        """See `ports.PartitionLog`."""
        lag = 0
        if not {self._events, self._labels} <= self._consumer.assignment():
            return -1
        for place in (self._events, self._labels):
            fetched = self._consumer.highwater(place)
            end = None if fetched is None else max(fetched, self._ends.get(place, 0))
            position = next_offset(self._consumer, place)
            if end is None or position is None:
                return -1
            lag += max(0, end - position)
        return lag

    def _refuse_beyond(self, announced: int, end: int) -> None:
        if announced > end:
            raise UnusableError(
                f"partition {self.partition}: a batch up to offset {announced} was begun, but the log ends at {end}: "
                "records that were acknowledged are gone (an unclean leader election?); decide what to do with the gap"
            )

    async def _refuse_holes(self, place: TopicPartition, expected: int, got: int) -> None:
        """Tell the ends of transactions, which take offsets too, from records that are gone."""
        starts = await kafka_call("reading the first offset", self._consumer.beginning_offsets([place]))
        if got < expected or starts[place] > expected:
            raise UnusableError(
                f"{place.topic}-{place.partition}: got offset {got}, expected {expected}: records were deleted before "
                "they were read, or the topic was made again; decide what to do with the gap and start again"
            )

    def _stamp(self, position: Position) -> Position:
        position.partitions, position.topic_ids = self._partitions, self._topic_ids
        return position

    def _refuse_other_topics(self, position: Position) -> None:
        if position.partitions not in (0, self._partitions):
            raise UnusableError(
                f"got {self._partitions} partitions, expected the {position.partitions} that the states were made "
                "with: another count moves visitors to other partitions; start a new group id and topic prefix"
            )
        # A broker that knows no topic ids tells none; what is not known on both sides cannot differ.
        if any(one and other and one != other for one, other in zip(position.topic_ids, self._topic_ids, strict=False)):
            raise UnusableError(
                f"got topic ids {self._topic_ids}, expected {position.topic_ids}: a topic was deleted and made again, "
                "its offsets mean other records now; start a new group id and topic prefix, as examples and model "
                "know positions of the old one"
            )


def _visitor(record: ConsumerRecord[Any, Any]) -> str | None:
    """Whose state a changelog record is; None if it is nobody's, as no key of ours is anything but UTF-8."""
    try:
        return (record.key or b"").decode()
    except UnicodeDecodeError:
        return None
