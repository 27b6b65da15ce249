"""Whole topics, read without a group from where they begin, or from a time on, and followed: every process reads all.

One client for all of them. A topic is paused until it is asked for, so that topics can be read to their ends one after
the other and all of them followed then.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from stream_app.backends.clients import KafkaClients, ended, kafka_call, next_offset, start_client, stop_quietly
from stream_app.backends.newest import kept_since, places_of
from stream_app.backends.ports import LogError
from stream_app.settings import Settings

#: Records of a poll: some 10 ms of work in one piece.
_POLL_RECORDS: Final = 1_000
_POLL_MS: Final = 200

#: How long a fetch waits for new records, in ms: nobody waits for an outcome.
_FETCH_WAIT_MS: Final = 500

#: A read that brings nothing for so long, in seconds, will not finish: a leader is gone, or a transaction open.
_PROGRESS_S_MAX: Final = 30.0

Records = list[ConsumerRecord[Any, Any]]


class Following:
    """The partitions of some topics. Every method raises LogError when Kafka does not answer."""

    def __init__(self, settings: Settings, clients: KafkaClients, topics: Sequence[str]) -> None:
        self._names = {settings.topic(name): name for name in topics}
        self._clients = clients
        self._consumer: AIOKafkaConsumer | None = None
        self._places: dict[str, list[TopicPartition]] = {}

    async def start(self) -> None:
        """Begin at the first kept record of every topic, each of them paused."""
        consumer = self._clients.reader(fetch_wait_ms=_FETCH_WAIT_MS)
        await start_client("starting to measure", consumer)
        self._consumer = consumer
        for full, name in self._names.items():
            self._places[name] = await places_of(consumer, full)
        everything = [place for places in self._places.values() for place in places]
        consumer.assign(everything)
        consumer.pause(*everything)

    async def stop(self) -> None:
        """Close."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_quietly(consumer)

    def partitions(self, topic: str) -> int:
        """How many a topic has."""
        return len(self._places[topic])

    def topic(self, place: TopicPartition) -> str:
        """Which of the topics, without the deployment's prefix."""
        return self._names[place.topic]

    def follow(self, *topics: str) -> None:
        """Read on from where each of them was left."""
        self._open.resume(*(place for topic in topics for place in self._places[topic]))

    async def to_ends(self, topic: str) -> AsyncIterator[tuple[TopicPartition, Records]]:
        """A topic up to where it ends now, in chunks of a partition; it is followed from there on."""
        ends = await self.ends(topic)
        self.follow(topic)
        progress = time.monotonic()
        while not self.reached(ends):
            found = await self.poll()
            for place, records in found.items():
                yield place, records
            if found:
                progress = time.monotonic()
            elif time.monotonic() - progress > _PROGRESS_S_MAX:
                raise LogError(f"reading {topic}: no progress for {_PROGRESS_S_MAX:g} s")

    async def poll(self) -> dict[TopicPartition, Records]:
        """What is new in the topics that are followed."""
        why = ended(self._open)
        if why:
            raise LogError(f"reading to measure: the client stopped: {why}")
        found = self._open.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        return dict(await kafka_call("reading to measure", found))

    async def ends(self, *topics: str) -> dict[TopicPartition, int]:
        """The next offset of each partition."""
        places = [place for topic in topics for place in self._places[topic]]
        return dict(await kafka_call("reading the ends", self._open.end_offsets(places)))

    def reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Whether everything before the offsets was read."""
        return all(self.at(place, end) for place, end in ends.items())

    def at(self, place: TopicPartition, offset: int) -> bool:
        """Whether everything of a partition before the offset was read."""
        position = next_offset(self._open, place)
        return offset == 0 or (position is not None and position >= offset)

    async def seek_time(self, topic: str, since_ms: int) -> set[TopicPartition]:
        """Go on with the first record that the broker has had since a time; partitions that may have lost some of them.

        A partition has if records were deleted from it, and the first one kept is younger than that.
        """
        short = set()
        for place, kept in (await kept_since(self._open, self._places[topic], since_ms)).items():
            self._open.seek(place, kept.start)
            if kept.lacks_since(since_ms):
                short.add(place)
        return short

    @property
    def _open(self) -> AIOKafkaConsumer:
        assert self._consumer is not None
        return self._consumer
