"""The events topic → one file of canonical events, in the order in which the records arrived.

A report reads its history two or three times, and a topic does not hold still for that: what was there at the first
reading may be deleted at the second. So it is copied, once, to where it ended when we began.

The partitions are read one after the other, each into a file of its own, and these are merged by the records' times
(and within a millisecond by the events'). Arrival, not event time: over all partitions together it nearly rises,
while one visitor whose clock is ahead would hold a partition back until all others have come to his tomorrow. What is
late in the copy is late as the worker saw it; a history out of order is sorted further on, like any file.

Memory holds one fetch of one partition, and a line of each while they are merged.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from stream_app import topics
from stream_app.backends.clients import KafkaClients, ended, kafka_call, next_offset, start_client, stop_quietly
from stream_app.backends.newest import kept_since, places_of
from stream_app.backends.ports import LogError
from stream_app.core.codec import Rejected, check_key, decode_event, encode
from stream_app.core.events import Event
from stream_app.evaluation.history import ROWS_PER_REPORT, Progress, event_time
from stream_app.settings import Settings

_POLL_MS: Final = 200
#: Records taken from a fetch at once: some 20 ms of work, between which the client can fetch ahead.
_POLL_RECORDS: Final = 5_000

#: A read that brings nothing for so long, in seconds, will not finish: a leader is gone, or a transaction open.
_PROGRESS_S_MAX: Final = 30.0


class _Span(NamedTuple):
    """What is to be read of a partition: from this offset to before that one."""

    place: TopicPartition
    start: int
    end: int


class TopicCopy:
    """Copies what the events topic keeps, or what has arrived since a time (ms).

    Attributes
    ----------
    topic
        Its full name.
    events
        How many are in the file.
    rejected
        Records that the worker would not accept either, by reason.
    newest_ms
        The newest record's time: the clock by which the file's events were accepted.
    """

    def __init__(self, settings: Settings, *, since_ms: int | None, progress: Progress) -> None:
        self.topic = settings.topic(topics.EVENTS)
        self.events = 0
        self.rejected: Counter[str] = Counter()
        self.newest_ms = 0
        self._clients = KafkaClients(settings)
        self._since_ms = since_ms
        self._progress = progress
        self._has_keys = True
        self._read = self._total = 0

    async def copy(self, directory: Path) -> Path:
        """Read the topic to its present end; the file, in `directory`. For one use.

        Raises
        ------
        LogError
            If Kafka does not answer, or there is no such topic.
        """
        parts = await self._read_all(directory)
        path = directory / f"{self.topic}.jsonl"
        with path.open("wb") as file:
            for count, line in enumerate(_by_arrival(parts), start=1):
                file.write(line)
                if not count % ROWS_PER_REPORT:
                    self._progress("in the order of arrival", count, self.events)
        for part in parts:
            part.unlink()
        return path

    async def _read_all(self, directory: Path) -> list[Path]:
        consumer = self._clients.reader()
        await start_client(f"reading {self.topic}", consumer)
        try:
            spans = await self._spans(consumer)
            self._has_keys = len(spans) > 1
            self._total = sum(span.end - span.start for span in spans)
            parts = []
            for span in spans:
                part = directory / f"{span.place.partition}.arrived"
                await self._read_one(consumer, span, part)
                parts.append(part)
            return parts
        finally:
            await stop_quietly(consumer)

    async def _spans(self, consumer: AIOKafkaConsumer) -> list[_Span]:
        places = await places_of(consumer, self.topic)
        found = await kept_since(consumer, places, self._since_ms or 0)
        spans = []
        for place, kept in found.items():
            # Where the broker knows of no record so young, as the embedded Kafka never does, all of them are looked at.
            younger = kept.since if self._since_ms is not None else None
            spans.append(_Span(place, kept.first if younger is None else younger.offset, kept.end))
        return spans

    async def _read_one(self, consumer: AIOKafkaConsumer, span: _Span, part: Path) -> None:
        begun = self._read
        with part.open("wb") as file:
            if span.start < span.end:
                consumer.assign([span.place])
                consumer.seek(span.place, span.start)
            reached, moved = span.start, time.monotonic()
            # By position: transaction markers leave offsets without records.
            while reached < span.end:
                if why := ended(consumer):
                    raise LogError(f"reading {self.topic}: the client stopped: {why}")
                polled = consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
                for records in (await kafka_call(f"reading {self.topic}", polled)).values():
                    file.writelines(self._lines(record for record in records if record.offset < span.end))
                position = next_offset(consumer, span.place)
                if position is not None and position > reached:
                    reached, moved = position, time.monotonic()
                elif time.monotonic() - moved > _PROGRESS_S_MAX:
                    raise LogError(f"reading {self.topic}: no progress for {_PROGRESS_S_MAX:g} s")
                self._read = begun + min(reached, span.end) - span.start
                self._progress(f"reading {self.topic}", self._read, self._total)

    def _lines(self, records: Iterable[ConsumerRecord[Any, Any]]) -> Iterator[bytes]:
        """`ARRIVED HAPPENED JSON`, times in ms, one line for each event that is accepted."""
        for record in records:
            if self._since_ms is not None and record.timestamp < self._since_ms:
                continue
            event = self._accepted(record)
            if isinstance(event, Rejected):
                self.rejected[event.reason] += 1
                continue
            self.events += 1
            self.newest_ms = max(self.newest_ms, record.timestamp)
            # Written anew: a value may be spread over several lines.
            yield b"%d %d %b\n" % (record.timestamp, event_time(event), encode(event))

    def _accepted(self, record: ConsumerRecord[Any, Any]) -> Event | Rejected:
        """As the worker decides it (`core.processor`)."""
        event = decode_event(record.value, record_time_ms=record.timestamp)
        if isinstance(event, Event) and self._has_keys:
            return check_key(record.key, event.visitor_id) or event
        return event


def _by_arrival(parts: Iterable[Path]) -> Iterator[bytes]:
    """The parts' lines of JSON, merged."""
    with ExitStack() as stack:
        # All open at once: partitions are some dozens, not the thousands at which a process runs out of files.
        files = [stack.enter_context(part.open("rb")) for part in parts]
        for line in heapq.merge(*files, key=_arrived):
            yield line.split(b" ", 2)[2]


def _arrived(line: bytes) -> tuple[int, int]:
    arrived, happened, _ = line.split(b" ", 2)
    return int(arrived), int(happened)
