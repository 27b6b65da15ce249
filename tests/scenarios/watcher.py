"""A consumer beside the run: reads what is committed, as it is committed, as a subscriber of the scores would."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Self

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream_app import topics
from stream_app.core.events import Event
from stream_app.settings import Settings

#: Topics with one record for each event.
WATCHED = (topics.SCORES, topics.FEATURES)


class Watcher:
    """Follows scores and features from their beginning. Start it before the first event, `stop` it after the last."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self._over = False
        #: (topic, partition) → monotonic times of arrival
        self.arrivals: dict[tuple[str, int], list[float]] = defaultdict(list)
        #: topic → partition → (offset, event id, visitor), in the order of arrival
        self._seen: dict[str, dict[int, list[tuple[int, str, str]]]] = {name: defaultdict(list) for name in WATCHED}

    def start(self) -> Self:
        """Begin."""
        self._task = asyncio.create_task(self._follow(), name="watcher")
        return self

    async def stop(self) -> None:
        """End; harmless when not started. Raises what has ended the watcher before, if anything."""
        task, self._task = self._task, None
        # Asked, not cancelled: before Python 3.12 `asyncio.wait_for`, in the client, may swallow a cancellation.
        self._over = True
        if task is not None:
            await task

    def check(self) -> None:
        """Raise what has ended the watcher, if anything."""
        assert self._task is not None
        if self._task.done():
            self._task.result()

    def events(self, topic: str) -> set[str]:
        """Ids of the events seen so far."""
        return {event_id for records in self._seen[topic].values() for _, event_id, _ in records}

    def repeated(self, topic: str) -> int:
        """Records beyond the first of an event."""
        return sum(len(records) for records in self._seen[topic].values()) - len(self.events(topic))

    def longest_silence(self, topic: str, *, since: float) -> float:
        """The longest that any one partition was without an arrival, in seconds, from a monotonic time to its last."""
        longest = 0.0
        for (name, _), times in self.arrivals.items():
            if name == topic:
                later = [since, *(time for time in times if time >= since)]
                longest = max([longest, *(b - a for a, b in pairwise(later))])
        return longest

    def problems(self, sent: Iterable[Event]) -> list[str]:
        """What no subscriber may ever see: events that nobody sent, one visitor's out of order, offsets out of order.

        A repeated record does not count here, and of an event its first record does.
        """
        order: dict[str, list[str]] = defaultdict(list)
        for event in sent:
            order[event.visitor_id].append(event.event_id)
        found = []
        for topic, partitions in self._seen.items():
            told: dict[str, dict[str, None]] = defaultdict(dict)
            for partition, records in partitions.items():
                offsets = [offset for offset, _, _ in records]
                if offsets != sorted(set(offsets)):
                    found.append(f"{topic}-{partition}: offsets went back")
                for _, event_id, visitor in records:
                    told[visitor].setdefault(event_id)
            for visitor, events in told.items():
                expected = [event_id for event_id in order[visitor] if event_id in events]
                if list(events) != expected:
                    found.append(f"{topic}: visitor {visitor}: got {list(events)}, expected {expected}")
        return found

    async def _follow(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            check_crcs=self._settings.check_crcs,
            fetch_max_wait_ms=100,
        )
        await consumer.start()
        names = {self._settings.topic(name): name for name in WATCHED}
        consumer.assign([TopicPartition(full, p) for full in names for p in range(self._settings.topic_partitions)])
        try:
            while not self._over:
                with contextlib.suppress(KafkaError):  # a broker that is away: the faults are not ours to survive
                    for place, records in (await consumer.getmany(timeout_ms=100)).items():
                        seen = self._seen[names[place.topic]][place.partition]
                        seen.extend(_told(record) for record in records)
                        self.arrivals[names[place.topic], place.partition].append(time.monotonic())
        finally:
            await consumer.stop()


def _told(record: Any) -> tuple[int, str, str]:
    value = msgspec.json.decode(record.value)
    return record.offset, value["event_id"], value["visitor_id"]
