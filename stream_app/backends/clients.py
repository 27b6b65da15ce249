"""Where every Kafka client of the loops is made, and the one way in which we call, start and stop them.

The loops get a `KafkaClients`; simulations give them one whose clients live in memory. What is set here is set for a
reason that aiokafka's own defaults do not know.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalOperation, InvalidProducerEpoch, KafkaError, ProducerFenced
from aiokafka.producer import sender
from aiokafka.producer.message_accumulator import BatchBuilder, MessageBatch

from stream_app.backends.kafka_access import access, denied_hint, security
from stream_app.backends.ports import FencedError, LogError
from stream_app.backends.stable_offsets import StableAdminClient
from stream_app.settings import Settings
from stream_app.tls import TlsFileError

#: Bytes of one record batch before compression: below the broker's default limit of 1 MiB for a batch.
BATCH_BYTES_MAX: Final = 900_000

#: A dead letter is an input record (1 MiB at most by default) and its headers.
REQUEST_BYTES_MAX: Final = 2 * 1024 * 1024

#: How long a request may take before the producer counts as failed: well below the session time-out's order, above a
#: leader election.
REQUEST_TIMEOUT_MS: Final = 15_000

#: By how much a member's requests may take longer than a session: one of them waits for the group to come together.
_MEMBER_MARGIN_MS: Final = 5_000

#: Requests of a transactional producer: longer than anything waits for a transaction, so that the client never sends
#: its end a second time while the first may still be on its way (KAFKA-17754).
TRANSACTION_REQUEST_TIMEOUT_MS: Final = 30_000

#: After this the broker gives an unfinished transaction up. Readers of committed records stand still behind one.
TRANSACTION_TIMEOUT_MS: Final = 10_000

#: For one transaction of ours, and for settling a former owner's: no longer than the broker keeps one open, and shorter
#: than the client waits for any request of it. (It would wait for a broker that is away without end.)
TRANSACTION_S_MAX: Final = TRANSACTION_TIMEOUT_MS / 1000

#: Bytes fetched per partition and request: two full batches of our own inputs.
FETCH_BYTES_MAX: Final = 2 * 1024 * 1024

#: Milliseconds. At its next heartbeat a member hears that the group changes; until all of them have, the partitions of
#: one that left are nobody's. The session time-out alone would allow for seconds of that; a heartbeat is 100 bytes.
_HEARTBEAT_MS_MAX: Final = 250

#: In seconds: for a client to say goodbye.
STOP_S_MAX: Final = 5.0

#: Between attempts at a step of a transaction; the client's own 100 ms would be the largest part of it.
_RETRY_BACKOFF_MS: Final = 10

#: In seconds. A transaction begun within milliseconds of the last one's end is turned away while the broker still
#: writes that end's markers, which takes about 2 ms; the client would wait for 20.
_NEXT_TRANSACTION_S: Final = 0.002

#: Every way in which a client call fails: aiokafka's state checks are asserts, its time-outs plain ones, and asyncio
#: says RuntimeError when a connection is closed under a write.
FAILURES: Final = (KafkaError, OSError, TimeoutError, AssertionError, RuntimeError)

#: Of a record: names and values.
Headers = Sequence[tuple[str, bytes]]

_T = TypeVar("_T")


class TransactionalProducer(AIOKafkaProducer):
    """A producer that remembers whether a request of its went without an answer.

    aiokafka then sends the request again, while the first may still be under way: the broker could take a transaction's
    late end, or its late offsets, for those of the *next* transaction of the same producer (Jepsen on Bufstream 0.1.0,
    KAFKA-17754). Such a producer must not begin another one.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.unanswered = False
        send = self.client.send

        async def watched(*arguments: Any, **options: Any) -> Any:
            try:
                return await send(*arguments, **options)  # type: ignore[no-untyped-call]
            except FAILURES:
                self.unanswered = True
                raise

        self.client.send = watched  # type: ignore[method-assign]

    @property
    def fenced(self) -> bool:
        """Whether the broker has told it so; later calls fail with anything but that."""
        told = self._txn_manager._transaction_waiter
        return (
            told is not None
            and told.done()
            and not told.cancelled()
            and isinstance(told.exception(), ProducerFenced | InvalidProducerEpoch)
        )


class KafkaClients:
    """Makes clients, none of them started. Raises LogError where a certificate's file is not sound now."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def security(self) -> dict[str, Any]:
        """How to get in, for a client that somebody else makes."""
        return security(self._settings)

    def _access(self) -> dict[str, Any]:
        try:
            return access(self._settings)
        except TlsFileError as error:
            # It was sound at the start: it is being renewed, one file after the other, and will be sound again.
            raise LogError(f"making a client: {error}") from error

    def admin(self) -> AIOKafkaAdminClient:
        """For what is committed and what topics there are."""
        return StableAdminClient(**self._access(), request_timeout_ms=REQUEST_TIMEOUT_MS)

    def reader(self, *, fetch_wait_ms: int = 500, committed_only: bool = True) -> AIOKafkaConsumer:
        """Without a group, for partitions that the caller assigns: committed records only, from the first kept.

        `fetch_wait_ms` is how long a fetch waits for new records; 500 is the client's own default.
        """
        return AIOKafkaConsumer(
            **self._access(),
            enable_auto_commit=False,
            check_crcs=self._settings.check_crcs,
            auto_offset_reset="earliest",
            isolation_level="read_committed" if committed_only else "read_uncommitted",
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
            fetch_max_wait_ms=fetch_wait_ms,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )

    def member(self, group_id: str, *, client_id: str, fetch_wait_ms: int = 500) -> AIOKafkaConsumer:
        """A member of a group, committed records only; offsets are committed and sought by the caller.

        Records that vanish before they are read move it on: the caller compares offsets.
        """
        settings = self._settings
        return AIOKafkaConsumer(
            **self._access(),
            group_id=group_id,
            group_instance_id=settings.worker_id or None,
            client_id=client_id,
            enable_auto_commit=False,
            check_crcs=settings.check_crcs,
            # Not "none": a new group has no offsets, and the client complains of that before we have sought ours.
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            partition_assignment_strategy=[RangePartitionAssignor],
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=heartbeat_ms(settings),
            # Never: while Redis is waited for nobody polls, and the client would leave and not come back by itself.
            # Whether a partition makes progress is for readiness and liveness to say.
            max_poll_interval_ms=2**31 - 1,
            request_timeout_ms=settings.session_timeout_ms + _MEMBER_MARGIN_MS,
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
            fetch_max_wait_ms=fetch_wait_ms,
        )

    def producer(self, *, client_id: str) -> AIOKafkaProducer:
        """Idempotent: a resent batch is written once, and in order."""
        return AIOKafkaProducer(
            **self._access(),
            client_id=client_id,
            acks="all",
            enable_idempotence=True,
            compression_type="zstd",
            max_batch_size=BATCH_BYTES_MAX,
            max_request_size=REQUEST_BYTES_MAX,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            retry_backoff_ms=20,
        )

    def transactional_producer(self, transactional_id: str, *, client_id: str) -> TransactionalProducer:
        """All or nothing. Starting it fences whoever had the id before, and settles what that one left open."""
        sender.BACKOFF_OVERRIDE = _NEXT_TRANSACTION_S
        return TransactionalProducer(
            **self._access(),
            client_id=client_id,
            transactional_id=transactional_id,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            compression_type="zstd",
            max_batch_size=BATCH_BYTES_MAX,
            max_request_size=REQUEST_BYTES_MAX,
            request_timeout_ms=TRANSACTION_REQUEST_TIMEOUT_MS,
            retry_backoff_ms=_RETRY_BACKOFF_MS,
        )


def filled_batches(
    producer: AIOKafkaProducer, records: Iterable[tuple[bytes | None, bytes | None, Headers]], *, now_ms: int
) -> Iterator[BatchBuilder]:
    """Record batches of (key, value, headers), each as full as it gets; a record larger than a batch has its own."""
    batch = producer.create_batch()
    for key, value, headers in records:
        # A list: the client's compiled builder takes nothing else.
        record = {"key": key, "value": value, "timestamp": now_ms, "headers": list(headers)}
        if batch.append(**record) is None:
            yield batch
            batch = producer.create_batch()
            batch.append(**record)
    if batch.record_count():
        yield batch


def next_offset(consumer: AIOKafkaConsumer, place: TopicPartition) -> int | None:
    """Where an assigned partition is read next; None while that is not known, for which the client itself waits."""
    state = consumer._subscription.subscription
    assigned = state.assignment.state_value(place) if state and state.assignment else None
    return assigned.position if assigned is not None and assigned.has_valid_position else None


def heartbeat_ms(settings: Settings) -> int:
    """How often a member tells that it is alive: four may be lost before the session is."""
    return min(_HEARTBEAT_MS_MAX, max(100, settings.session_timeout_ms // 5))


def leaving(consumer: AIOKafkaConsumer) -> None:
    """Have a member with a name of its own leave its group when it is stopped, as one without a name does anyway.

    aiokafka, as Kafka's own client, lets such a member stay until the session time-out: who comes back under the name
    by then finds its partitions, and nobody has them meanwhile. That is right for a crash. Asked to stop, a member
    gives way to those that are there: they begin within a heartbeat, a new process takes seconds to start.
    """
    # The broker goes by the member's id alone (LeaveGroup v0 to v2); a test holds the fields' names.
    if (coordinator := getattr(consumer, "_coordinator", None)) is not None:
        coordinator._group_instance_id = None


def ended(consumer: AIOKafkaConsumer) -> str:
    """Why a consumer reads nothing any more although nobody stopped it; empty while it lives.

    Its parts are tasks. One that meets an error it does not know ends with a log line; `getmany` then gives nothing,
    for ever, as at the end of a log. aiokafka does not tell, so its own fields are asked; a test holds their names.
    """
    for part, name in (("_fetcher", "_fetch_task"), ("_coordinator", "_coordination_task")):
        task: asyncio.Future[Any] | None = getattr(getattr(consumer, part, None), name, None)
        if task is not None and task.done():
            return f"{name} ended: {None if task.cancelled() else task.exception()!r}"
    return ""


async def kafka_call(what: str, call: Awaitable[_T]) -> _T:
    """Await a client call; every way in which it fails becomes a LogError that says what was tried."""
    try:
        return await call
    except FAILURES as error:
        raise LogError(f"{what}: {error!r}{denied_hint(error)}") from error


async def start_client(what: str, client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    """Start a client. One that cannot start is closed, so that a retry for hours leaves nothing behind."""
    try:
        await kafka_call(what, client.start())  # type: ignore[no-untyped-call]
    except BaseException:
        await stop_quietly(client)
        raise


async def start_transactional(what: str, producer: TransactionalProducer) -> None:
    """Start it, which fences whoever had its id before. Raises LogError."""
    try:
        async with asyncio.timeout(TRANSACTION_S_MAX):
            await start_client(what, producer)
    except TimeoutError as error:
        raise LogError(f"{what}: no answer for {TRANSACTION_S_MAX:g} s") from error
    # What went unanswered while it started was asked again, and belongs to no transaction.
    producer.unanswered = False


@contextlib.asynccontextmanager
async def transaction(what: str, producer: TransactionalProducer, *, rival: str) -> AsyncIterator[None]:
    """Around one transaction, from its begin to its commit: in time, by a producer without a past, failures in words.

    Whatever is raised here, the producer must be given up: what it has under way may still arrive (RELIABILITY §2.1).

    Raises
    ------
    FencedError
        `rival`, if another producer was started under the id.
    LogError
        Anything else that Kafka or the client did not do.
    """
    if producer.unanswered:
        raise LogError(f"{what}: a request of the last transaction went unanswered; its producer is given up")
    try:
        async with asyncio.timeout(TRANSACTION_S_MAX):
            yield
    except (*FAILURES, IllegalOperation) as error:
        if producer.fenced or isinstance(error, ProducerFenced | InvalidProducerEpoch):
            raise FencedError(f"{rival}: {error!r}") from error
        raise LogError(f"{what}: {error!r}{denied_hint(error)}") from error


async def stop_quietly(client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    """Stop a client whose end no longer matters; a dead broker must not hold us up."""
    # In a task of its own: inside, aiokafka awaits tasks and futures that a time-out of ours may have cancelled, and
    # their CancelledError would look like one of ours.
    stopping = asyncio.ensure_future(client.stop())  # type: ignore[no-untyped-call]
    _, unfinished = await asyncio.wait({stopping}, timeout=STOP_S_MAX)
    if unfinished:
        stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)


def is_told_elsewhere(context: dict[str, Any]) -> bool:
    """Whether what an event loop complains of is a failure of the Kafka client that we have told ourselves.

    When a producer fails, aiokafka leaves its exception in futures of its own that nobody can ask any more, and
    stumbles over batches that it has given up (a KeyError of such a batch ends the task that wanted to send it again).
    asyncio would tell each as an error, where nothing is lost: who waits for the batch is told, or says that the wait
    was in vain.
    """
    message, error = str(context.get("message")), context.get("exception")
    if isinstance(error, KeyError):
        return message == "Task exception was never retrieved" and isinstance(error.args[0], MessageBatch)
    return isinstance(error, KafkaError) and (
        message == "Future exception was never retrieved" or message.startswith("Exception in callback")
    )


async def all_acknowledged(futures: Sequence[asyncio.Future[Any]]) -> list[Any]:
    """Wait for every future, also past a failure; then the results, or the first failure."""
    results = await asyncio.gather(*futures, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
