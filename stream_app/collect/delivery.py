"""Into Kafka: what a request brought is written and acknowledged, or the request is told that it may not have been.

Each partition writes one group of records at a time: what comes in meanwhile is the next group. So a quiet collector
writes at once, and a busy one in large batches, without a time to wait for company.

A producer that failed is given up and another one made: what the old one had under way may still arrive, and senders
then repeat it; a worker knows the repetition by its `event_id`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer

from producers.sink import dead_letter_headers, partition_of
from stream_app import topics
from stream_app.backends.clients import (
    FAILURES,
    Headers,
    KafkaClients,
    all_acknowledged,
    filled_batches,
    kafka_call,
    start_client,
    stop_quietly,
)
from stream_app.backends.ports import LogError
from stream_app.collect.core.reading import Letter
from stream_app.collect.core.refusal import RefusalError
from stream_app.collect.observe import CollectObserver
from stream_app.core.codec import encode
from stream_app.core.events import Event
from stream_app.settings import Settings

#: How long an acknowledgement may take, in seconds: a broker's leaders move within some seconds, and a sender that
#: waits for longer has given up itself.
ACKNOWLEDGE_S_MAX: Final = 10.0

#: How long a connection may take, in seconds.
_CONNECT_S_MAX: Final = 10.0

#: Between two attempts to connect, in seconds: at first, and at most.
_AGAIN_S_MIN: Final = 0.5
_AGAIN_S_MAX: Final = 5.0

#: What a sender is told to wait while Kafka is away, in seconds.
_RETRY_AFTER_S: Final = 2.0

_Record = tuple[bytes | None, bytes, Headers]


class _Connection(NamedTuple):
    """A producer and the partitions it writes to, by topic."""

    producer: AIOKafkaProducer
    lanes: dict[str, list[_Lane]]


class Delivery:
    """Writes to the events' and the dead letters' topics. `run` keeps it connected until `stop`."""

    def __init__(self, settings: Settings, observer: CollectObserver, clients: KafkaClients) -> None:
        self._observer, self._clients = observer, clients
        self._client_id = f"{settings.group_id}-collect"
        self._events, self._dead_letters = settings.topic(topics.EVENTS), settings.topic(topics.DEAD_LETTERS)
        self._connection: _Connection | None = None
        self._problem = "not connected to Kafka yet"
        self._changed = asyncio.Event()
        self._stopping = False
        self._closing: asyncio.Future[None] | None = None

    def ready(self) -> tuple[bool, str]:
        """Whether events can be written, and a few words."""
        if self._stopping:
            return False, "stopping"
        return (True, "connected to Kafka") if self._connection is not None else (False, self._problem)

    async def run(self) -> None:
        """Connect, and connect again after each failure, until `stop`."""
        pause_s, since = _AGAIN_S_MIN, time.monotonic()
        while not self._stopping:
            if self._connection is None:
                try:
                    self._connection = await self._connected()
                except LogError as error:
                    self._failed(error)
                    await self._wait(pause_s)
                    pause_s = min(_AGAIN_S_MAX, 2 * pause_s)
                    continue
                self._observer.connected(time.monotonic() - since)
            await self._wait(None)
            # An outage begins with the failure that ended the wait, and may be a short one.
            pause_s, since = _AGAIN_S_MIN, time.monotonic()
        if self._connection is not None:
            await stop_quietly(self._connection.producer)

    def stop(self) -> None:
        """End `run`. Whoever still waits for an acknowledgement has been waited for before."""
        self._stopping = True
        self._changed.set()

    async def deliver(self, events: Sequence[Event], letters: Sequence[Letter], *, source: str) -> None:
        """Write all, and return when all is acknowledged.

        `source` says in dead letters where they came from.

        Raises
        ------
        RefusalError
            503 if Kafka is away or does not acknowledge in time. Some or all may have arrived, or arrive yet.
        """
        connection = self._connection
        if connection is None:
            raise unavailable()
        waiting: set[asyncio.Future[None]] = set()
        lanes = connection.lanes[self._events]
        for event in events:
            key = event.visitor_id.encode()
            waiting.add(lanes[partition_of(key, len(lanes))].add((key, encode(event), ())))
        lanes = connection.lanes[self._dead_letters]
        for letter in letters:
            headers = [
                (name, content or b"")
                for name, content in dead_letter_headers(letter.rejected, source=source, row=letter.row)
            ]
            waiting.add(lanes[letter.row % len(lanes)].add((None, letter.raw, headers)))
        if not waiting:
            return
        # Not gathered: other requests wait for the same groups, and must not be cancelled with this one. Its group may
        # have to wait for the one before it: the time is for both.
        done, late = await asyncio.wait(waiting, timeout=ACKNOWLEDGE_S_MAX)
        if late or any(each.exception() is not None for each in done):
            raise unavailable()

    async def _connected(self) -> _Connection:
        producer = self._clients.producer(client_id=self._client_id)
        try:
            async with asyncio.timeout(_CONNECT_S_MAX):
                await start_client("connecting", producer)
                names = (self._events, self._dead_letters)
                counts = {name: await self._partitions(producer, name) for name in names}
        except TimeoutError:
            await stop_quietly(producer)
            raise LogError(f"connecting: no answer for {_CONNECT_S_MAX:g} s") from None
        except BaseException:
            await stop_quietly(producer)
            raise
        lanes = {
            name: [_Lane(producer, name, partition, self._observer, self._lost) for partition in range(count)]
            for name, count in counts.items()
        }
        return _Connection(producer, lanes)

    async def _partitions(self, producer: AIOKafkaProducer, topic: str) -> int:
        # As many as the cluster says now: who adds partitions restarts what writes to them (adr/0017).
        found: set[int] = await kafka_call(f"asking for {topic}", producer.partitions_for(topic))
        return len(found)

    def _lost(self, producer: AIOKafkaProducer, error: LogError) -> None:
        """A lane's write failed: nobody uses its producer any more."""
        if self._connection is None or self._connection.producer is not producer:
            return
        for lanes in self._connection.lanes.values():
            for lane in lanes:
                lane.give_up(error)
        self._connection = None
        self._failed(error)
        self._changed.set()
        self._closing = asyncio.ensure_future(stop_quietly(producer))  # held, or it may be collected before it is done

    def _failed(self, error: LogError) -> None:
        self._problem = f"Kafka is away: {error}"
        self._observer.kafka_error(error)

    async def _wait(self, seconds: float | None) -> None:
        """Until something changes, or so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()


class _Lane:
    """One partition: what waits, and the one write that is under way."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        partition: int,
        observer: CollectObserver,
        lost: Callable[[AIOKafkaProducer, LogError], None],
    ) -> None:
        self._producer, self._topic, self._partition = producer, topic, partition
        self._observer, self._lost = observer, lost
        self._waiting: list[_Record] = []
        self._group: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._given_up: LogError | None = None

    def give_up(self, error: LogError) -> None:
        """Write no further group: the producer has failed, here or for another partition."""
        self._given_up = error

    def add(self, record: _Record) -> asyncio.Future[None]:
        """Have a record written with the next group; what to wait for, of the whole group."""
        if self._group is None:
            self._group = asyncio.get_running_loop().create_future()
        self._waiting.append(record)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_groups())
        return self._group

    async def _write_groups(self) -> None:
        try:
            while self._group is not None:
                # What other requests of this turn of the loop bring goes along.
                await asyncio.sleep(0)
                group, records = self._group, self._waiting
                self._group, self._waiting = None, []
                try:
                    await self._write(records)
                except LogError as error:
                    self._lost(self._producer, error)
                    group.set_exception(error)
                    group.exception()  # retrieved: whose client has gone away does not ask
                else:
                    group.set_result(None)
        finally:
            self._writing = None

    async def _write(self, records: Sequence[_Record]) -> None:
        if self._given_up is not None:
            raise self._given_up
        began = time.monotonic()
        try:
            async with asyncio.timeout(ACKNOWLEDGE_S_MAX):
                futures: list[asyncio.Future[Any]] = [
                    await self._producer.send_batch(batch, self._topic, partition=self._partition)
                    for batch in filled_batches(self._producer, records, now_ms=time.time_ns() // 1_000_000)
                ]
                await all_acknowledged(futures)
        except TimeoutError:
            raise LogError(f"writing: no acknowledgement within {ACKNOWLEDGE_S_MAX:g} s") from None
        except FAILURES as error:
            raise LogError(f"writing: {error!r}") from error
        self._observer.acknowledged(len(records), time.monotonic() - began)


def unavailable() -> RefusalError:
    """The refusal while Kafka cannot be written to. Why is in the log: a sender has no business with our brokers."""
    return RefusalError(
        503,
        "unavailable",
        got="no acknowledgement from Kafka",
        expected="one from all replicas in sync",
        do="send the same again later, with the same event ids",
        retry_after_s=_RETRY_AFTER_S,
    )
