"""Reading topics without a group: their partitions, and where their newest records begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndTimestamp

from stream_app.backends.clients import kafka_call, start_client, stop_quietly
from stream_app.backends.ports import LogError

#: Where the broker knows of no record that is so young: so many of the newest are looked at all the same. The embedded
#: Kafka never knows, and keeps fewer.
_NEWEST: Final = 10_000


class Kept(NamedTuple):
    """A partition's first kept and next offset, and the first record since a time; None if no such record is known."""

    first: int
    end: int
    since: OffsetAndTimestamp | None

    @property
    def start(self) -> int:
        """Where to read from, so that nothing since that time is missed of what is kept."""
        return max(self.first, self.end - _NEWEST if self.since is None else self.since.offset)

    def lacks_since(self, time_ms: int) -> bool:
        """Whether records were deleted, and the first one kept is younger than that time: some since then may lack."""
        told = self.since
        if told is None or told.timestamp is None:
            return False
        return 0 < self.first >= told.offset and told.timestamp > time_ms


async def places_of(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """A topic's partitions, in order. Raises LogError if there are none, or Kafka does not answer."""
    metadata = await kafka_call("reading the partitions", consumer._client.fetch_all_metadata())
    places = [TopicPartition(topic, number) for number in sorted(metadata.partitions_for_topic(topic) or ())]
    if not places:
        raise LogError(f"topic {topic} does not exist: run `stream-app topics create`")
    return places


async def kept_since(
    consumer: AIOKafkaConsumer, places: Sequence[TopicPartition], since_ms: int
) -> dict[TopicPartition, Kept]:
    """What each partition has had since a time. Raises LogError if Kafka does not answer."""
    ends = await kafka_call("reading the end offsets", consumer.end_offsets(list(places)))
    firsts = await kafka_call("reading the first offsets", consumer.beginning_offsets(list(places)))
    times = dict.fromkeys(places, max(0, since_ms))
    found = await kafka_call("reading the offsets of a time", consumer.offsets_for_times(times))
    return {place: Kept(firsts[place], ends[place], found.get(place)) for place in places}


async def start_at_newest(
    doing: str, consumer: AIOKafkaConsumer, topic: str, records: int
) -> dict[TopicPartition, int]:
    """Start the consumer and give it what `assign_newest` says; `doing` is told where Kafka does not answer.

    Raises LogError like that; the consumer is stopped then, and after a cancellation.
    """
    await start_client(doing, consumer)
    try:
        return await assign_newest(consumer, topic, records)
    except BaseException:
        await stop_quietly(consumer)
        raise


async def assign_newest(consumer: AIOKafkaConsumer, topic: str, records: int) -> dict[TopicPartition, int]:
    """Give the consumer all partitions, each at the newest `records` of them all divided; ends of those that have any.

    Raises LogError if Kafka does not answer, or if there is no such topic.
    """
    places = await places_of(consumer, topic)
    consumer.assign(places)
    firsts = await kafka_call("reading the first offsets", consumer.beginning_offsets(places))
    ends = await kafka_call("reading the end offsets", consumer.end_offsets(places))
    for place in places:
        consumer.seek(place, max(firsts[place], ends[place] - records // len(places)))
    return {place: end for place, end in ends.items() if end > firsts[place]}
