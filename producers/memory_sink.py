"""The sink's twin without Kafka: keeps what it is given. Tests and dry runs use it."""

from __future__ import annotations

import time
from typing import NamedTuple

from producers.sink import GATE_RECORDS, Gate, Headers, dead_letter_headers, partition_of
from stream_app import topics
from stream_app.core.codec import Rejected, encode
from stream_app.core.events import CheckoutLabel, Event


class SentRecord(NamedTuple):
    """One record as a `MemorySink` keeps it; times in ms since the epoch."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: Headers
    timestamp_ms: int


class MemorySink:
    """The twin without Kafka: keeps every record, in the order of sending, in `records`. For tests."""

    def __init__(self, *, topic_prefix: str = "", partitions: int = 4, gate: Gate | None = None) -> None:
        self.records: list[SentRecord] = []
        self._prefix = topic_prefix
        self._partitions = partitions
        self._gate = gate

    async def __aenter__(self) -> MemorySink:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    @property
    def accepted(self) -> int:
        """Records taken so far."""
        return len(self.records)

    @property
    def delivered(self) -> int:
        """Records taken so far: here a record arrives as it is sent."""
        return len(self.records)

    async def send_event(self, event: Event, *, due_ms: int | None = None) -> None:
        """Keep an event, keyed by its visitor."""
        await self._append(topics.EVENTS, event.visitor_id.encode(), encode(event), [], due_ms=due_ms)

    async def send_raw(self, value: bytes, *, key: str, due_ms: int | None = None) -> None:
        """Keep bytes as they are."""
        await self._append(topics.EVENTS, key.encode(), value, [], due_ms=due_ms)

    async def send_label(self, label: CheckoutLabel) -> None:
        """Keep a checkout label, keyed by its visitor."""
        await self._append(topics.LABELS, label.visitor_id.encode(), encode(label), [])

    async def send_dead_letter(self, raw: bytes, rejected: Rejected, *, source: str, row: int) -> None:
        """Keep a rejected row with its headers."""
        await self._append(
            topics.DEAD_LETTERS, None, raw, dead_letter_headers(rejected, source=source, row=row), row=row
        )

    async def flush(self) -> None:
        """Return at once: nothing is on its way."""

    async def _append(
        self, topic: str, key: bytes | None, value: bytes, headers: Headers, *, row: int = 0, due_ms: int | None = None
    ) -> None:
        if self._gate is not None and len(self.records) % GATE_RECORDS == 0:
            await self._gate()
        partition = row % self._partitions if key is None else partition_of(key, self._partitions)
        stamp_ms = time.time_ns() // 1_000_000 if due_ms is None else due_ms
        self.records.append(SentRecord(f"{self._prefix}{topic}", partition, key, value, headers, stamp_ms))
