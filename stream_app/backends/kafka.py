"""One partition's side of Kafka, on aiokafka: input, outputs, changelog, commit.

aiokafka's pitfalls that shape this file (RELIABILITY §2.1): offsets are fetched by us and sought explicitly; every send
future is awaited before anything is committed; a producer that failed is thrown away, never used again; listener
exceptions are swallowed, so nothing here relies on one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata

from stream_app import topics
from stream_app.backends.ports import Committed, LogError, Polled, UnusableError
from stream_app.core.effects import DeadLetter, Effects, Keyed, Position, decode_position, encode_position
from stream_app.observe import Observer
from stream_app.settings import Settings

#: Bytes of one record batch before compression: below the broker's default limit of 1 MiB for a batch.
BATCH_BYTES_MAX: Final = 900_000

#: A dead letter is an input record (1 MiB at most by default) and its headers.
REQUEST_BYTES_MAX: Final = 2 * 1024 * 1024

#: How long a request may take before the producer counts as failed: well below the session time-out's order, above a
#: leader election.
REQUEST_TIMEOUT_MS: Final = 15_000

#: How long a batch may take to be acknowledged before its producer counts as failed. The client's own time-outs come
#: first; but it waits for ever on a producer that another partition has stopped meanwhile.
PUBLISH_S_MAX: Final = 20.0

#: Key and value of a dead letter: the topic takes 2 MiB (`topics.py`), and the reason in the headers and the batch
#: around it need room. What is longer is cut: an events topic that takes more than the default 1 MiB was told to.
DEAD_LETTER_BYTES_MAX: Final = 2_000_000

#: A restore that reads nothing for this long will not finish: the changelog's leader is gone.
RESTORE_PROGRESS_S_MAX: Final = 30.0

#: Bytes fetched per partition and request: two full batches of our own inputs.
FETCH_BYTES_MAX: Final = 2 * 1024 * 1024

#: In seconds: for a client to say goodbye.
STOP_S_MAX: Final = 5.0

#: How often Kafka is asked whether it is there, and how long it may take: readiness must tell within seconds.
PULSE_S: Final = 2.0
PULSE_TIMEOUT_S: Final = 2.0

_T = TypeVar("_T")


async def kafka_call(what: str, call: Awaitable[_T]) -> _T:
    """Await a client call; every way in which aiokafka fails becomes a LogError that says what was tried.

    Its state checks are asserts and its time-outs are plain ones, so those count as failures too.
    """
    try:
        return await call
    except (KafkaError, OSError, TimeoutError, AssertionError) as error:
        raise LogError(f"{what}: {error!r}") from error


async def start_client(what: str, client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    """Start a client. One that cannot start is closed, so that a retry for hours leaves nothing behind."""
    try:
        await kafka_call(what, client.start())  # type: ignore[no-untyped-call]
    except BaseException:
        await stop_quietly(client)
        raise


class KafkaPulse:
    """Whether Kafka answers, asked every few seconds: while a broker is away polls do not raise, they come empty."""

    def __init__(self, observer: Observer, op: str) -> None:
        self._observer = observer
        self._op = op
        self._next = 0.0
        self._silent_since: float | None = None

    async def check(self, consumer: AIOKafkaConsumer, place: TopicPartition) -> None:
        """Ask, if it is time to; takes at most `PULSE_TIMEOUT_S`."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PULSE_S
        # In a task of its own, for the reason given at `stop_quietly`.
        asking = asyncio.ensure_future(consumer.end_offsets([place]))
        _, unfinished = await asyncio.wait({asking}, timeout=PULSE_TIMEOUT_S)
        if unfinished:
            asking.cancel()
        answer: Any = (await asyncio.gather(asking, return_exceptions=True))[0]
        if isinstance(answer, BaseException):
            self.missed(answer)
        elif self._silent_since is not None:
            self._observer.back("kafka", now - self._silent_since)
            self._silent_since = None

    def missed(self, error: BaseException) -> None:
        """Kafka did not answer."""
        silent = LogError(f"Kafka does not answer: {error!r}")
        self._observer.kafka_error(self._op, silent, again=self._silent_since is not None)
        if self._silent_since is None:
            self._silent_since = time.monotonic()

    @property
    def problem(self) -> str:
        """What readiness has to say; empty while Kafka answers."""
        if self._silent_since is None:
            return ""
        return f"Kafka has not answered for {time.monotonic() - self._silent_since:.0f} s"


class SharedProducer:
    """The idempotent producer of a worker's partitions. One that failed is replaced, never used again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()

    async def get(self) -> AIOKafkaProducer:
        """The running producer."""
        async with self._lock:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._settings.kafka_bootstrap,
                    client_id=f"{self._settings.group_id}-worker",
                    acks="all",
                    enable_idempotence=True,
                    compression_type="zstd",
                    max_batch_size=BATCH_BYTES_MAX,
                    max_request_size=REQUEST_BYTES_MAX,
                    request_timeout_ms=REQUEST_TIMEOUT_MS,
                    retry_backoff_ms=20,
                )
                await start_client("starting the producer", producer)
                self._producer = producer
            return self._producer

    async def discard(self, producer: AIOKafkaProducer) -> None:
        """Stop a producer that failed; the next `get` starts another."""
        async with self._lock:
            if self._producer is producer:
                self._producer = None
        await stop_quietly(producer)

    async def close(self) -> None:
        """Stop."""
        async with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            await stop_quietly(producer)


class KafkaPartitionLog:
    """`PartitionLog` with `at_least_once`: outputs, then the changelog, each acknowledged; offsets committed apart.

    `partitions` and `topic_ids` are what the topics have now; a commit that was made for others is refused.
    """

    def __init__(
        self,
        settings: Settings,
        partition: int,
        *,
        consumer: AIOKafkaConsumer,
        producer: SharedProducer,
        admin: AIOKafkaAdminClient,
        partitions: int,
        topic_ids: list[str],
    ) -> None:
        self._settings = settings
        self.partition = partition
        self._consumer, self._shared, self._admin = consumer, producer, admin
        self._partitions, self._topic_ids = partitions, topic_ids
        self._events = TopicPartition(settings.topic(topics.EVENTS), partition)
        self._labels = TopicPartition(settings.topic(topics.LABELS), partition)
        self._changelog = TopicPartition(settings.topic(topics.CHANGELOG), partition)
        self._outputs: list[tuple[str, Callable[[Effects], list[Keyed]]]] = [
            (settings.topic(topics.SCORES), lambda effects: effects.scores),
            (settings.topic(topics.FEATURES), lambda effects: effects.features),
            (settings.topic(topics.EXAMPLES), lambda effects: effects.examples),
            (settings.topic(topics.CLOSED), lambda effects: effects.closed),
        ]
        self._dead_letters = settings.topic(topics.DEAD_LETTERS)

    async def take_over(self) -> Committed:
        """See `ports.PartitionLog`."""
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
        position = decode_position(stored[self._events].metadata)
        if position is not None:
            self._refuse_other_topics(position)
        return Committed(offsets[0], offsets[1], self._stamp(position) if position else None)

    async def seek(self, *, events_offset: int, labels_offset: int) -> None:
        """See `ports.PartitionLog`."""
        try:
            self._consumer.seek(self._events, events_offset)
            self._consumer.seek(self._labels, labels_offset)
            self._consumer.resume(self._events, self._labels)
        except (KafkaError, AssertionError) as error:
            raise LogError(f"seeking: {error!r}") from error

    async def poll(self, *, timeout_ms: int, records_max: int) -> Polled:
        """See `ports.PartitionLog`."""
        found = await kafka_call(
            "reading",
            self._consumer.getmany(self._events, self._labels, timeout_ms=timeout_ms, max_records=records_max),
        )
        events: Sequence[ConsumerRecord[Any, Any]] = found.get(self._events, ())
        labels: Sequence[ConsumerRecord[Any, Any]] = found.get(self._labels, ())
        return Polled(events, labels, not found and self.lag() == 0)

    async def publish(self, effects: Effects) -> int:
        """See `ports.PartitionLog`."""
        producer = await self._shared.get()
        try:
            async with asyncio.timeout(PUBLISH_S_MAX):
                waiting: list[asyncio.Future[Any]] = []
                for topic, records in self._outputs:
                    waiting += [future for future, _ in await self._send(producer, topic, records(effects))]
                for letter in effects.dead_letters:
                    key, value, headers = dead_letter_record(letter)
                    waiting.append(await producer.send(self._dead_letters, value, key=key, headers=headers))
                await all_acknowledged(waiting)
                states = [(visitor.encode(), blob) for visitor, blob in effects.states.items()]
                written = await self._send(producer, self._changelog.topic, states)
                acknowledged = await all_acknowledged([future for future, _ in written])
        except (KafkaError, OSError, TimeoutError, AssertionError) as error:
            await self._shared.discard(producer)
            raise LogError(f"writing: {error!r}") from error
        except asyncio.CancelledError:
            # What was sent may still arrive: nobody else must find this producer in the middle of it.
            await asyncio.shield(self._shared.discard(producer))
            raise
        # A batch's acknowledgement carries the offset of its first record.
        return int(acknowledged[-1].offset) + written[-1][1] if written else -1

    async def commit(self, position: Position) -> None:
        """See `ports.PartitionLog`."""
        metadata = encode_position(self._stamp(position)).decode()
        await kafka_call(
            "committing",
            self._consumer.commit(
                {
                    self._events: OffsetAndMetadata(position.events_offset, metadata),
                    self._labels: OffsetAndMetadata(position.labels_offset, ""),
                }
            ),
        )

    async def changelog_end(self) -> int:
        """See `ports.PartitionLog`."""
        ends = await kafka_call("reading the changelog's end", self._consumer.end_offsets([self._changelog]))
        return int(ends[self._changelog])

    async def changelog(self, *, start: int, end: int) -> AsyncIterator[list[tuple[str, bytes | None]]]:
        """See `ports.PartitionLog`."""
        consumer = committed_reader(self._settings)
        await start_client("starting the restore", consumer)
        try:
            consumer.assign([self._changelog])
            first = await kafka_call("restoring", consumer.beginning_offsets([self._changelog]))
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
                    yield [((record.key or b"").decode(), record.value) for record in records if record.offset < end]
        finally:
            await stop_quietly(consumer)

    def lag(self) -> int:
        """See `ports.PartitionLog`."""
        lag = 0
        if not {self._events, self._labels} <= self._consumer.assignment():
            return -1
        for place in (self._events, self._labels):
            end = self._consumer.highwater(place)
            state = self._consumer._subscription.subscription
            assigned = state.assignment.state_value(place) if state and state.assignment else None
            if end is None or assigned is None or not assigned.has_valid_position:
                return -1
            lag += max(0, end - assigned.position)
        return lag

    async def _send(
        self, producer: AIOKafkaProducer, topic: str, records: list[Keyed]
    ) -> list[tuple[asyncio.Future[Any], int]]:
        """Put the records into as few batches of this partition as fit; of each its acknowledgement and its size."""
        sent = []
        batch = producer.create_batch()
        now_ms = int(time.time() * 1000)
        for key, value in records:
            if batch.append(key=key, value=value, timestamp=now_ms) is None:
                sent.append((await producer.send_batch(batch, topic, partition=self.partition), batch.record_count()))
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=now_ms)
        if batch.record_count():
            sent.append((await producer.send_batch(batch, topic, partition=self.partition), batch.record_count()))
        return sent

    def _stamp(self, position: Position) -> Position:
        position.partitions, position.topic_ids = self._partitions, self._topic_ids
        return position

    def _refuse_other_topics(self, position: Position) -> None:
        if position.partitions not in (0, self._partitions):
            raise UnusableError(
                f"got {self._partitions} partitions, expected the {position.partitions} that the states were made "
                "with: another count moves visitors to other partitions; start a new group id and topic prefix"
            )
        known = [topic_id for topic_id in position.topic_ids if topic_id]
        if known and any(self._topic_ids) and position.topic_ids != self._topic_ids:
            raise UnusableError(
                f"got topic ids {self._topic_ids}, expected {position.topic_ids}: a topic was deleted and made again, "
                "its offsets mean other records now; start a new group id and topic prefix, as examples and model "
                "know positions of the old one"
            )


def committed_reader(settings: Settings, *, fetch_wait_ms: int = 500) -> AIOKafkaConsumer:
    """A consumer without a group, for partitions that the caller assigns: committed records only, from the first kept.

    `fetch_wait_ms` is how long a fetch waits for new records; 500 is the client's own default.
    """
    return AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        enable_auto_commit=False,
        check_crcs=settings.check_crcs,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=FETCH_BYTES_MAX,
        fetch_max_wait_ms=fetch_wait_ms,
    )


async def all_acknowledged(futures: Sequence[asyncio.Future[Any]]) -> list[Any]:
    """Wait for every future, also past a failure; then the results, or the first failure."""
    results = await asyncio.gather(*futures, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def dead_letter_record(letter: DeadLetter) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
    """Key, value and headers: the bytes as they came, why they were rejected and where they were."""
    key, value = letter.key, letter.value
    headers = [
        ("reason", letter.reason.encode()),
        ("detail", letter.detail[:1000].encode()),
        ("source_topic", letter.topic.encode()),
        ("source_partition", str(letter.partition).encode()),
        ("source_offset", str(letter.offset).encode()),
    ]
    size = len(key or b"") + len(value or b"")
    if size > DEAD_LETTER_BYTES_MAX:
        headers.append(("cut_from_bytes", str(size).encode()))
        key = key[:DEAD_LETTER_BYTES_MAX] if key is not None else None
        value = value[: DEAD_LETTER_BYTES_MAX - len(key or b"")] if value is not None else None
    # The client refuses a record without key and value; brokers take them, so they come in.
    return key, b"" if key is None and value is None else value, headers


async def stop_quietly(client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    """Stop a client whose end no longer matters; a dead broker must not hold us up."""
    # In a task of its own: inside, aiokafka awaits tasks and futures that a time-out of ours may have cancelled, and
    # their CancelledError would look like one of ours.
    stopping = asyncio.ensure_future(client.stop())  # type: ignore[no-untyped-call]
    _, unfinished = await asyncio.wait({stopping}, timeout=STOP_S_MAX)
    if unfinished:
        stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
