"""Where producers write: Kafka. The only file here that knows aiokafka; its twin is in `memory_sink.py`.

A record goes into its partition's open batch; a batch is handed over when it is full or `linger_ms` old. Filling the
batches ourselves costs a few µs a record, where the client's own `send` makes a future for each. Nothing is lost in
silence: every batch's delivery is awaited, at the latest by `flush`, and the first failure is raised by whatever call
comes next and by every one after it.

Records are keyed by the visitor's id and partitioned by murmur2, as Java clients do by default, so a visitor's events
keep their order. They are stamped with the wall clock (of a paced sender: with when they were due), not with the
event's time, which lives in the value: Kafka's retention deletes by the record's timestamp, and replayed history would
vanish within minutes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeAlias

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.partitioner import murmur2

from stream_app import topics
from stream_app.backends.kafka_access import denied_hint, why_turned_away
from stream_app.core.codec import Rejected, encode
from stream_app.core.events import CheckoutLabel, Event

#: Uncompressed. Well below the broker's default limit of 1 MB, and enough records (about 1,000) to make a batch's own
#: cost vanish; more only adds latency.
BATCH_BYTES_MAX: Final = 256 * 1024

#: The gate is asked once for this many records: more would overshoot it, asking for every one would cost as much as
#: the record itself. At 200 bytes an event, 64 are 13 kB.
GATE_RECORDS: Final = 64

#: How long Kafka may take to answer at the start: long enough for a busy broker, short enough for a person who waits.
START_SECONDS_MAX: Final = 10.0

#: How long the last acknowledgements may take: the client itself retries an idempotent batch for ever.
FLUSH_SECONDS_MAX: Final = 30.0

#: How long closing may take after that; what has not been acknowledged by then has been reported already.
_CLOSE_SECONDS_MAX: Final = 3.0

#: Visitors whose partition is remembered; hashing one anew costs about 3 µs.
_PARTITIONS_CACHED: Final = 65_536

Headers: TypeAlias = list[tuple[str, bytes | None]]

#: Awaited before a record is taken; returns when there is room further down.
Gate: TypeAlias = Callable[[], Awaitable[None]]


class SinkError(Exception):
    """Records could not be delivered, or Kafka not be reached; the text is one line that says what to do.

    After one, the sink is of no more use: what was not acknowledged may or may not have arrived.
    """


class Sink(Protocol):
    """Takes events and their companions; nothing is certain to have arrived before `flush` has returned."""

    @property
    def delivered(self) -> int:
        """Records known to have arrived."""

    async def send_event(self, event: Event, *, due_ms: int | None = None) -> None:
        """Write an event, keyed by its visitor, stamped with `due_ms` (wall clock, ms) or else with the present."""

    async def send_raw(self, value: bytes, *, key: str, due_ms: int | None = None) -> None:
        """Write bytes to the events topic as they are: encoded by somebody else, or broken on purpose."""

    async def send_label(self, label: CheckoutLabel) -> None:
        """Write a checkout label, keyed by its visitor."""

    async def send_dead_letter(self, raw: bytes, rejected: Rejected, *, source: str, row: int) -> None:
        """Write a rejected row, bytes unchanged, with reason, detail, source and row as headers."""

    async def flush(self) -> None:
        """Return when everything has arrived; raise `SinkError` if something has not."""


def partition_of(key: bytes, partitions: int) -> int:
    """Choose the partition of a key as Kafka's own clients do by default."""
    hashed: int = murmur2(key)
    return (hashed & 0x7FFFFFFF) % partitions


def dead_letter_headers(rejected: Rejected, *, source: str, row: int) -> Headers:
    """What is said about a rejected row, beside its unchanged bytes."""
    texts = {"reason": rejected.reason, "detail": rejected.detail, "source": source, "row": str(row)}
    return [(name, text.encode(errors="backslashreplace")) for name, text in texts.items()]


class _Lane:
    """One partition: its open batch, and the lock that keeps its batches in order."""

    __slots__ = ("batch", "lock", "partition", "topic")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.batch: Any = None
        self.lock = asyncio.Lock()


class KafkaSink:
    """Writes to Kafka: idempotent, acknowledged by all replicas, LZ4. Use it as an async context manager.

    Bounded: a partition has at most one batch open, one queued and one on its way; beyond that sending waits.

    Parameters
    ----------
    bootstrap
        `host:port[,…]`.
    topic_prefix
        Put before each topic's name.
    gate
        Awaited before every 64th record, for flow control by somebody further down; None lets everything through. A
        sender that waits there cannot be stopped otherwise, so whoever stops it must open the gate.
    linger_ms
        How long a record may wait for company, in ms.
    security
        How Kafka lets us in, as `kafka_access.security` says; nothing: in the clear.

    Raises
    ------
    SinkError
        On entering, if Kafka does not answer within 10 s or a topic does not exist; later, if a delivery fails.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        topic_prefix: str = "",
        gate: Gate | None = None,
        linger_ms: int = 5,
        security: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._bootstrap, self._security = bootstrap, security
        self._prefix = topic_prefix
        self._gate = gate
        self._linger_seconds = linger_ms / 1000
        self._lanes: dict[str, list[_Lane]] = {}
        self._in_flight: set[asyncio.Future[object]] = set()
        self._failure: SinkError | None = None
        self._lingering: asyncio.Task[None] | None = None
        self._accepted = 0
        self._delivered = 0

    async def __aenter__(self) -> KafkaSink:
        self._producer = _producer(self._bootstrap, self._security)
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                await self._producer.start()
                for name in (topics.EVENTS, topics.LABELS, topics.DEAD_LETTERS):
                    await self._find(f"{self._prefix}{name}")
        except (TimeoutError, KafkaError, OSError) as error:
            failure = SinkError(await self._start_failure(error))
            await self._close()
            raise failure from None
        except BaseException:
            await self._close()
            raise
        self._events = self._lanes[f"{self._prefix}{topics.EVENTS}"]
        self._labels = self._lanes[f"{self._prefix}{topics.LABELS}"]
        self._dead_letters = self._lanes[f"{self._prefix}{topics.DEAD_LETTERS}"]
        self._partition = lru_cache(_PARTITIONS_CACHED)(self._keyed)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            await asyncio.wait([self._lingering])
        await self._close()

    @property
    def accepted(self) -> int:
        """Records taken so far, delivered or not."""
        return self._accepted

    @property
    def delivered(self) -> int:
        """Records acknowledged by Kafka."""
        return self._delivered

    async def send_event(self, event: Event, *, due_ms: int | None = None) -> None:
        """Write an event, keyed by its visitor, stamped with `due_ms` or else with the present."""
        key, partition = self._partition(event.visitor_id)
        await self._append(self._events[partition], key, encode(event), [], due_ms)

    async def send_raw(self, value: bytes, *, key: str, due_ms: int | None = None) -> None:
        """Write bytes to the events topic as they are."""
        encoded, partition = self._partition(key)
        await self._append(self._events[partition], encoded, value, [], due_ms)

    async def send_label(self, label: CheckoutLabel) -> None:
        """Write a checkout label, keyed by its visitor: in the partition of the visitor's events."""
        key = label.visitor_id.encode()
        await self._append(self._labels[partition_of(key, len(self._labels))], key, encode(label), [])

    async def send_dead_letter(self, raw: bytes, rejected: Rejected, *, source: str, row: int) -> None:
        """Write a rejected row; it has no visitor, so partitions take turns."""
        lane = self._dead_letters[row % len(self._dead_letters)]
        await self._append(lane, None, raw, dead_letter_headers(rejected, source=source, row=row))

    async def flush(self) -> None:
        """Hand over every open batch and wait until all have been acknowledged."""
        for lanes in self._lanes.values():
            for lane in lanes:
                await self._ship(lane)
        if self._in_flight:
            _, pending = await asyncio.wait(self._in_flight, timeout=FLUSH_SECONDS_MAX)
            if pending and self._failure is None:
                self._failure = SinkError(
                    f"{self._accepted - self._delivered} records were not acknowledged within "
                    f"{FLUSH_SECONDS_MAX:.0f} s; {self._delivered} were"
                )
        if self._failure is not None:
            raise self._failure

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS_MAX):
                await self._producer.stop()
        except TimeoutError:
            # Stopping waits for batches that nobody will acknowledge; the connections at least are given back.
            await self._producer.client.close()

    async def _find(self, topic: str) -> None:
        partitions = await self._producer.partitions_for(topic)
        self._lanes[topic] = [_Lane(topic, partition) for partition in sorted(partitions)]

    async def _start_failure(self, error: Exception) -> str:
        known = [f"{self._prefix}{name}" for name in (topics.EVENTS, topics.LABELS, topics.DEAD_LETTERS)]
        missing = next((name for name in known if name not in self._lanes), known[0])
        if hint := denied_hint(error):
            return f"Kafka at {self._bootstrap} does not let us look at topic {missing}{hint}"
        if self._producer.client.cluster.brokers():
            return f"Kafka at {self._bootstrap} has no topic {missing}; create it with `stream-app topics create`"
        if self._security and isinstance(error, KafkaConnectionError):
            reason = await why_turned_away({"bootstrap_servers": self._bootstrap, **self._security})
            return f"Kafka at {self._bootstrap} does not let us in: {reason}"
        # The client's own text for a refused connection repeats the address as a tuple and says no more.
        known_as = "no connection" if isinstance(error, KafkaConnectionError) else str(error)
        return (
            f"Kafka at {self._bootstrap} does not answer ({known_as or f'waited {START_SECONDS_MAX:.0f} s'}); "
            "is it running, and the address right? Set it with --kafka-bootstrap"
        )

    def _keyed(self, visitor_id: str) -> tuple[bytes, int]:
        key = visitor_id.encode()
        return key, partition_of(key, len(self._events))

    async def _append(
        self, lane: _Lane, key: bytes | None, value: bytes, headers: Headers, due_ms: int | None = None
    ) -> None:
        if self._failure is not None:
            raise self._failure
        if self._gate is not None and self._accepted % GATE_RECORDS == 0:
            await self._gate()
        stamp_ms = time.time_ns() // 1_000_000 if due_ms is None else due_ms
        while True:
            if lane.batch is None:
                lane.batch = self._producer.create_batch()
                if self._lingering is None:
                    self._lingering = asyncio.create_task(self._linger())
            if lane.batch.append(timestamp=stamp_ms, key=key, value=value, headers=headers) is not None:
                self._accepted += 1
                return
            await self._ship(lane)

    async def _linger(self) -> None:
        """Ship what is open each time the linger has passed, until nothing is."""
        try:
            while waiting := [lane for lanes in self._lanes.values() for lane in lanes if lane.batch is not None]:
                await asyncio.sleep(self._linger_seconds)
                for lane in waiting:
                    await self._ship(lane)
        except SinkError:
            pass  # `_ship` has remembered it; the next call raises it where somebody can act
        finally:
            self._lingering = None

    async def _ship(self, lane: _Lane) -> None:
        async with lane.lock:
            batch, lane.batch = lane.batch, None
            if batch is None:
                return
            batch.close()
            records = batch.record_count()
            try:
                future = await self._producer.send_batch(batch, lane.topic, partition=lane.partition)
            except asyncio.CancelledError as error:
                self._fail(lane, records, error)  # the records have left the open batch: nobody will send them
                raise
            except Exception as error:
                raise self._fail(lane, records, error) from None
            self._in_flight.add(future)
            future.add_done_callback(lambda done: self._settle(lane, records, done))

    def _settle(self, lane: _Lane, records: int, done: asyncio.Future[object]) -> None:
        self._in_flight.discard(done)
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is None:
            self._delivered += records
        else:
            self._fail(lane, records, error)

    def _fail(self, lane: _Lane, records: int, error: BaseException) -> SinkError:
        if self._failure is None:
            self._failure = SinkError(
                f"{records} records for {lane.topic} partition {lane.partition} were not acknowledged "
                f"({type(error).__name__}: {error}); {self._delivered} records before them were"
            )
        return self._failure


def _producer(bootstrap: str, security: Mapping[str, Any]) -> Any:
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        **security,
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",
        max_batch_size=BATCH_BYTES_MAX,
    )
