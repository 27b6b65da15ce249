"""What a soak looks at from outside: scores as they are committed, the group's lag, memory and files of a process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from stream_app import topics
from stream_app.backends.clients import ended, stop_quietly
from stream_app.settings import Settings

_FAILURES: Final = (KafkaError, OSError, TimeoutError, AssertionError, RuntimeError)
_RETRY_S: Final = 0.5
_ASK_S: Final = 3.0
_MB: Final = 1024 * 1024


class Footprint(NamedTuple):
    """Of a process now."""

    rss_mb: float
    fds: int


def footprint(pid: int) -> Footprint | None:
    """Resident memory and open file descriptors; None when the process is gone."""
    directory = Path("/proc") / str(pid)
    try:
        pages = int((directory / "statm").read_text().split()[1])
        return Footprint(pages * os.sysconf("SC_PAGE_SIZE") / _MB, len(os.listdir(directory / "fd")))
    except OSError:
        return None


class ScoreGauge:
    """Counts the scores that a subscriber is given, and the longest time without one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._places = [TopicPartition(settings.topic(topics.SCORES), n) for n in range(settings.topic_partitions)]
        self._next = dict.fromkeys(self._places, 0)
        self.count = 0
        self.last = time.monotonic()
        self.silence_max = 0.0

    async def run(self) -> None:
        """Follow until cancelled, also past outages."""
        while True:
            with contextlib.suppress(*_FAILURES):
                await self._follow()
            await asyncio.sleep(_RETRY_S)

    @property
    def silence(self) -> float:
        """Seconds since the last score."""
        return time.monotonic() - self.last

    async def _follow(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap, isolation_level="read_committed", enable_auto_commit=False
        )
        try:
            await consumer.start()
            consumer.assign(self._places)
            for place, offset in self._next.items():
                consumer.seek(place, offset)
            while not ended(consumer):
                for place, records in (await consumer.getmany(timeout_ms=500)).items():
                    self._next[place] = records[-1].offset + 1
                    self.count += len(records)
                    self.silence_max = max(self.silence_max, self.silence)
                    self.last = time.monotonic()
        finally:
            await stop_quietly(consumer)


async def lag(settings: Settings) -> int | None:
    """Input records that are not committed; None when Kafka does not say."""
    client = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap)
    names = (topics.EVENTS, topics.LABELS)
    places = [TopicPartition(settings.topic(name), n) for name in names for n in range(settings.topic_partitions)]
    try:
        async with asyncio.timeout(_ASK_S):
            await client.start()
            await consumer.start()
            ends = await consumer.end_offsets(places)
            stored = await client.list_consumer_group_offsets(settings.group_id, partitions=places)
            if not all(place in stored for place in places):
                return None  # the coordinator is still loading
            return sum(int(ends[place]) - max(0, int(stored[place].offset)) for place in places)
    except _FAILURES:
        return None
    finally:
        with contextlib.suppress(*_FAILURES):
            await client.close()
        await stop_quietly(consumer)
