"""A subscriber of the scores, from outside: what arrived in which partition and when, and how long nothing did."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Self

from confluent_kafka import Consumer, TopicPartition

_POLL_S = 0.1


class Subscriber:
    """Reads a topic's committed records from its beginning in a thread. Use it as a context manager.

    Parameters
    ----------
    options
        Of librdkafka, with which it may read the topic; `group.id` is of one that it may name, and does not join.
    topic, partitions
        The topic's name, and how many it has.
    """

    def __init__(self, options: Mapping[str, Any], topic: str, partitions: int) -> None:
        self._consumer = Consumer({**options, "enable.auto.commit": False, "isolation.level": "read_committed"})
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="subscriber")
        self._lock = threading.Lock()
        #: partition → monotonic times of arrival, in seconds
        self._arrivals: dict[int, list[float]] = {number: [] for number in range(partitions)}
        self._events: Counter[str] = Counter()
        self._refused: str | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._consumer.close()

    @property
    def events(self) -> Counter[str]:
        """How often each event's record has come so far. Raises AssertionError once Kafka has refused to go on."""
        assert self._refused is None, self._refused
        with self._lock:
            return self._events.copy()

    def silences(self, since: float, until: float) -> dict[int, float]:
        """Each partition's longest time without a record, in seconds, between two monotonic times. Raises likewise."""
        assert self._refused is None, self._refused
        with self._lock:
            within = {
                number: [since, *(time for time in times if since <= time <= until), until]
                for number, times in self._arrivals.items()
            }
        return {number: max(b - a for a, b in pairwise(times)) for number, times in within.items()}

    def _follow(self) -> None:
        while not self._over.is_set():
            for record in self._consumer.consume(1_000, _POLL_S):
                if record.error():
                    self._refused = str(record.error())
                    return
                value, partition = record.value(), record.partition()
                assert value is not None
                assert partition is not None
                with self._lock:
                    self._arrivals[partition].append(time.monotonic())
                    self._events[json.loads(value)["event_id"]] += 1
