"""aiokafka's producer on the simulated broker: what it promises, how it retries, and how it fails.

From aiokafka's source: batches of an idempotent producer are sent again until the broker has taken them; one produce
request is under way at a time; transactional requests go one after the other beside it; a fenced producer is dead, and
its state checks are asserts; `commit_transaction` waits for the batches but does not look at how they ended; `stop`
sends what is queued, and ends no transaction. One that is cancelled in `stop` goes on sending.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, NamedTuple
from zlib import crc32

from aiokafka.errors import (
    ConcurrentTransactions,
    IllegalOperation,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaConnectionError,
    KafkaError,
    ProducerFenced,
    RequestTimedOutError,
)
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from stream_app.backends.prepared_batch import PreparedBatch
from tests.simulation.broker import Broker
from tests.simulation.log import Message

#: In seconds, between two attempts.
_BACKOFF_S: Final = 0.02
_NEXT_TRANSACTION_S: Final = 0.003

READY, IN_TRANSACTION, ENDING, FATAL = "ready", "in transaction", "ending", "fatal"

_CONNECTION: Final = (KafkaConnectionError, RequestTimedOutError)


class Acknowledged(NamedTuple):
    """What a future of a batch or record resolves to."""

    topic: str
    partition: int
    offset: int


class BatchBuilder:
    """Records for one partition, at most `records_max`."""

    def __init__(self, records_max: int) -> None:
        self._records_max = records_max
        self.messages: list[Message] = []

    def append(self, *, timestamp: int, key: bytes | None, value: bytes | None, headers: Any = ()) -> object | None:
        """None when the batch is full."""
        if len(self.messages) >= self._records_max:
            return None
        self.messages.append(Message(key, value, timestamp, tuple(headers)))
        return self

    def record_count(self) -> int:
        """How many records it holds."""
        return len(self.messages)


def _messages_of(prepared: PreparedBatch) -> list[Message]:
    """What a broker finds in a prepared batch."""
    found = MemoryRecords(prepared._build()).next_batch()
    assert found is not None
    return [Message(record.key, record.value, record.timestamp) for record in found]


class _Batch:
    """A record batch on its way. `open` ones take further single records until they are sent."""

    __slots__ = ("futures", "messages", "open", "sequence")

    def __init__(self, messages: list[Message], *, is_open: bool) -> None:
        self.messages, self.open = messages, is_open
        #: of each the future and the place of its record in the batch
        self.futures: list[tuple[asyncio.Future[Acknowledged], int]] = []
        self.sequence = -1

    def fail(self, error: KafkaError) -> None:
        for future, _ in self.futures:
            if not future.done():
                future.set_exception(error)

    def succeed(self, place: TopicPartition, offset: int) -> None:
        for future, index in self.futures:
            if not future.done():
                future.set_result(Acknowledged(place.topic, place.partition, offset + index))


class SimulatedProducer:
    """Idempotent; transactional if it has an id."""

    def __init__(
        self,
        broker: Broker,
        *,
        request_timeout_s: float,
        batch_records_max: int,
        transactional_id: str | None = None,
        transaction_timeout_s: float = 10.0,
    ) -> None:
        self._broker = broker
        self._timeout_s = request_timeout_s
        self._batch_records_max = batch_records_max
        self._transactional_id = transactional_id
        self._transaction_timeout_s = transaction_timeout_s
        self._producer, self._epoch = -1, -1
        self._queues: dict[TopicPartition, deque[_Batch]] = {}
        self._sequences: dict[TopicPartition, int] = {}
        self._produce_task: asyncio.Task[None] | None = None
        self._closed = self._ended = False
        # transactions
        self._state = READY
        self._failed: KafkaError | None = None
        self._added: set[TopicPartition] = set()
        self._to_add: dict[TopicPartition, None] = {}
        self._group = ""
        self._offsets: deque[tuple[str, dict[TopicPartition, OffsetAndMetadata], asyncio.Future[None]]] = deque()
        self._commit = True
        self._waiter: asyncio.Future[None] | None = None
        self._transact_task: asyncio.Task[None] | None = None
        #: as the shipping `TransactionalProducer` has it
        self.unanswered = False

    # ---- the API ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect, and get a producer id: for a transactional one that fences the former."""
        await self._call("connect", lambda: None)
        broker, name, timeout_s = self._broker, self._transactional_id, self._transaction_timeout_s

        def init() -> tuple[int, int]:
            return (broker.new_producer_id(), 0) if name is None else broker.transactions.init(name, timeout_s)

        while True:
            try:
                self._producer, self._epoch = await self._call(f"init {name or 'a producer'}", init)
            except ConcurrentTransactions:
                await asyncio.sleep(_BACKOFF_S)
            except _CONNECTION:
                await asyncio.sleep(_BACKOFF_S)
            else:
                return

    @property
    def fenced(self) -> bool:
        """As the shipping `TransactionalProducer` has it."""
        return isinstance(self._failed, ProducerFenced)

    def create_batch(self) -> BatchBuilder:
        """An empty batch."""
        return BatchBuilder(self._batch_records_max)

    async def send_batch(
        self, batch: BatchBuilder | PreparedBatch, topic: str, *, partition: int
    ) -> asyncio.Future[Acknowledged]:
        """Queue a batch; done when it is acknowledged."""
        messages = batch.messages if isinstance(batch, BatchBuilder) else _messages_of(batch)
        return self._enqueue(TopicPartition(topic, partition), messages, single=False)

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Any = None,
    ) -> asyncio.Future[Acknowledged]:
        """Queue a record; done when it is acknowledged."""
        assert not (value is None and key is None), "Need at least one: key or value"
        if partition is None:
            partition = crc32(key or b"") % self._broker.topics[topic]
        message = Message(key, value, timestamp_ms or 0, tuple(headers or ()))
        return self._enqueue(TopicPartition(topic, partition), [message], single=True)

    async def begin_transaction(self) -> None:
        """Begin; nothing is sent for it."""
        assert self._state == READY, f"Invalid state transition {self._state} -> {IN_TRANSACTION}"
        self._state = IN_TRANSACTION
        self._waiter = asyncio.get_running_loop().create_future()

    async def send_offsets_to_transaction(
        self, offsets: dict[TopicPartition, OffsetAndMetadata], group_id: str
    ) -> None:
        """Make offsets part of the transaction."""
        if self._state != IN_TRANSACTION:
            raise IllegalOperation("Not in the middle of a transaction")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._offsets.append((group_id, dict(offsets), future))
        self._transact()
        await asyncio.shield(future)

    async def commit_transaction(self) -> None:
        """Wait for what was sent, then commit; how the batches ended is not looked at."""
        await self._end(commit=True)

    async def abort_transaction(self) -> None:
        """Wait for what was sent, then abort."""
        await self._end(commit=False)

    async def stop(self) -> None:
        """Send what is queued, then end. An open transaction stays open."""
        if self._closed:
            return
        self._closed = True
        while self._state != FATAL and any(self._queues.values()):
            assert self._produce_task is not None
            await asyncio.wait({self._produce_task})
        self._ended = True
        for task in (self._produce_task, self._transact_task):
            if task is not None:
                await asyncio.shield(task)

    # ---- sending ----------------------------------------------------------------------------------------------------

    async def _call(self, what: str, carry_out: Any) -> Any:
        try:
            return await self._broker.network.call(what, carry_out, timeout_s=self._timeout_s)
        except _CONNECTION:
            self.unanswered = True
            raise

    def _enqueue(self, place: TopicPartition, messages: list[Message], *, single: bool) -> asyncio.Future[Acknowledged]:
        if self._closed:
            raise KafkaError("simulated: the producer is closed")
        assert place in self._broker.logs, "Unrecognized partition"
        if self._transactional_id is not None:
            if self._state != IN_TRANSACTION:
                raise IllegalOperation("Can't send messages while not in transaction")
            if place not in self._added:
                self._to_add[place] = None
        if self._failed is not None:
            raise self._failed
        future: asyncio.Future[Acknowledged] = asyncio.get_running_loop().create_future()
        queue = self._queues.setdefault(place, deque())
        if single and queue and queue[-1].open and queue[-1].sequence < 0:
            batch = queue[-1]
            batch.messages += messages
        else:
            batch = _Batch(list(messages), is_open=single)
            queue.append(batch)
        batch.futures.append((future, len(batch.messages) - 1 if single else 0))
        self._produce()
        if self._to_add:
            self._transact()
        return future

    def _produce(self) -> None:
        if self._produce_task is None or self._produce_task.done():
            self._produce_task = asyncio.create_task(self._send_queued())

    async def _send_queued(self) -> None:
        while not self._ended and self._state != FATAL:
            batches = {place: queue[0] for place, queue in self._queues.items() if queue and place not in self._to_add}
            if not batches:
                if not self._to_add:
                    return
                await asyncio.sleep(0.001)
                continue
            request = {}
            for place, batch in batches.items():
                if batch.sequence < 0:
                    batch.sequence = self._sequences.get(place, 0)
                    self._sequences[place] = batch.sequence + len(batch.messages)
                request[place] = (batch.sequence, batch.messages)
            producer, epoch, name = self._producer, self._epoch, self._transactional_id
            try:
                answers = await self._call(
                    f"produce to {','.join(sorted(place.topic for place in request))}",
                    lambda request=request, p=producer, e=epoch, n=name: self._broker.produce(request, p, e, n),
                )
            except _CONNECTION:
                await asyncio.sleep(_BACKOFF_S)
                continue
            for place, answer in answers.items():
                queue = self._queues[place]
                if not queue or queue[0] is not batches[place]:
                    continue  # failed meanwhile
                batch = queue.popleft()
                if isinstance(answer, InvalidProducerEpoch):
                    batch.fail(ProducerFenced())
                elif isinstance(answer, KafkaError):
                    batch.fail(answer)
                else:
                    batch.succeed(place, answer)

    # ---- transactions -----------------------------------------------------------------------------------------------

    async def _end(self, *, commit: bool) -> None:
        assert self._state == IN_TRANSACTION, f"Invalid state transition {self._state} -> {ENDING}"
        self._state, self._commit = ENDING, commit
        self._transact()
        assert self._waiter is not None
        await asyncio.shield(self._waiter)

    def _transact(self) -> None:
        if self._transact_task is None or self._transact_task.done():
            self._transact_task = asyncio.create_task(self._send_transactional())

    async def _send_transactional(self) -> None:
        while not self._ended and self._state != FATAL:
            try:
                if not await self._next_request():
                    return
            except ConcurrentTransactions:
                await asyncio.sleep(_NEXT_TRANSACTION_S)
            except _CONNECTION:
                await asyncio.sleep(_BACKOFF_S)
            except InvalidProducerEpoch:
                self._fail(ProducerFenced())
            except (InvalidTxnState, InvalidProducerIdMapping) as error:
                self._fail(KafkaError(f"Unexpected error during batch delivery: {error!r}"))

    async def _next_request(self) -> bool:
        """The next step of the transaction; False if there is none."""
        name, producer, epoch = str(self._transactional_id), self._producer, self._epoch
        coordinator = self._broker.transactions
        if self._to_add:
            places = list(self._to_add)
            await self._call(
                f"add partitions of {name}", lambda: coordinator.add_partitions(name, producer, epoch, places)
            )
            for place in places:
                self._to_add.pop(place, None)
                self._added.add(place)
            self._produce()
        elif self._offsets and not self._group:
            group = self._offsets[0][0]
            await self._call(f"add offsets of {name}", lambda: coordinator.add_offsets(name, producer, epoch, group))
            self._group = group
        elif self._offsets:
            group, offsets, future = self._offsets[0]
            await self._call(
                f"commit offsets in {name}",
                lambda: coordinator.commit_offsets(name, producer, epoch, group, offsets),
            )
            self._offsets.popleft()
            if not future.done():
                future.set_result(None)
        elif self._state == ENDING:
            if any(self._queues.values()):
                assert self._produce_task is not None
                await asyncio.wait({self._produce_task})
                return True
            if self._added or self._group:
                commit = self._commit
                await self._call(
                    f"{'commit' if commit else 'abort'} {name}",
                    lambda: coordinator.end(name, producer, epoch, commit=commit),
                )
            self._complete()
        else:
            return False
        return True

    def _complete(self) -> None:
        self._state = READY
        self._added.clear()
        self._group = ""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: KafkaError) -> None:
        """The sender has died: all that waits fails, and nothing works any more."""
        self._state, self._failed = FATAL, error
        for queue in self._queues.values():
            for batch in queue:
                batch.fail(error)
            queue.clear()
        for _, _, future in self._offsets:
            if not future.done():
                future.set_exception(error)
        self._offsets.clear()
        if self._waiter is not None:
            if self._waiter.done():
                self._waiter = asyncio.get_running_loop().create_future()
            self._waiter.set_exception(error)
