"""A topic's partition at the broker: records at offsets, open and ended transactions, idempotent producers."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, NamedTuple

from aiokafka.errors import InvalidProducerEpoch, OutOfOrderSequenceNumber

#: Batches of a producer that a broker remembers, to tell a repetition from a gap.
_BATCHES_KNOWN: Final = 5

OPEN, COMMITTED, ABORTED, MARKER, COMPACTED = range(5)


class Message(NamedTuple):
    """What a producer sends."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: tuple[tuple[str, bytes], ...] = ()


class Entry:
    """What the log holds at one offset."""

    __slots__ = ("appended", "message", "offset", "producer", "state")

    def __init__(self, offset: int, producer: int, state: int, message: Message) -> None:
        self.offset, self.producer, self.state, self.message = offset, producer, state, message
        #: when, by the simulation's clock
        self.appended = asyncio.get_running_loop().time()


class FetchedRecord(NamedTuple):
    """A record as a consumer hands it out."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class _Sequence:
    """What is known of an idempotent producer."""

    __slots__ = ("batches", "epoch", "next")

    def __init__(self, epoch: int) -> None:
        self.epoch, self.next = epoch, 0
        self.batches: deque[tuple[int, int]] = deque(maxlen=_BATCHES_KNOWN)


class Log:
    """One partition. Offsets are indices: control markers take some, compacted records leave theirs empty."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        self.entries: list[Entry] = []
        #: producer id → first offset of its open transaction
        self._open: dict[int, int] = {}
        self._sequences: dict[int, _Sequence] = {}
        self._waiters: dict[asyncio.Future[None], None] = {}

    @property
    def end(self) -> int:
        """The next offset."""
        return len(self.entries)

    @property
    def stable_end(self) -> int:
        """Up to where readers of committed records get."""
        return min(self._open.values()) if self._open else len(self.entries)

    # ---- writing ----------------------------------------------------------------------------------------------------

    def append(self, messages: list[Message]) -> int:
        """Without a producer id: the input. The first offset."""
        first = self.end
        for message in messages:
            self.entries.append(Entry(self.end, -1, COMMITTED, message))
        self._wake()
        return first

    def produce(self, producer: int, epoch: int, sequence: int, messages: list[Message], *, transactional: bool) -> int:
        """A batch of an idempotent producer, once: the first offset, also of a repetition."""
        known = self._sequences.get(producer)
        if known is None or epoch > known.epoch:
            known = self._sequences[producer] = _Sequence(epoch)
        elif epoch < known.epoch:
            raise InvalidProducerEpoch
        for earlier, offset in known.batches:
            if earlier == sequence:
                return offset
        if sequence != known.next:
            raise OutOfOrderSequenceNumber
        first = self.end
        known.next += len(messages)
        known.batches.append((sequence, first))
        if transactional:
            self._open.setdefault(producer, first)
        for message in messages:
            self.entries.append(Entry(self.end, producer, OPEN if transactional else COMMITTED, message))
        if not transactional:
            self._wake()
        return first

    def end_transaction(self, producer: int, epoch: int, *, commit: bool) -> None:
        """Write the marker; it fences older epochs of the producer here."""
        first = self._open.pop(producer, None)
        if first is not None:
            for entry in self.entries[first:]:
                if entry.producer == producer and entry.state == OPEN:
                    entry.state = COMMITTED if commit else ABORTED
        known = self._sequences.get(producer)
        if known is not None and epoch > known.epoch:
            self._sequences[producer] = _Sequence(epoch)
        self.entries.append(Entry(self.end, producer, MARKER, Message(None, None, 0)))
        self._wake()

    def compact(self, *, before: float) -> None:
        """Keep the newest committed record of each key of what was appended before a time (`min.compaction.lag.ms`)."""
        seen: set[bytes | None] = set()
        for entry in reversed(self.entries[: self.stable_end]):
            if entry.state == COMMITTED and entry.appended < before:
                if entry.message.key in seen:
                    entry.state = COMPACTED
                seen.add(entry.message.key)

    # ---- reading ----------------------------------------------------------------------------------------------------

    def read(self, start: int, limit: int) -> tuple[list[FetchedRecord], int]:
        """Committed records from an offset on, and the offset to go on from."""
        found: list[FetchedRecord] = []
        position, end = start, self.stable_end
        while position < end and len(found) < limit:
            entry = self.entries[position]
            position += 1
            if entry.state == COMMITTED:
                found.append(FetchedRecord(self.topic, self.partition, entry.offset, *_wire(entry.message)))
        return found, position

    def committed(self) -> list[Entry]:
        """Every record that a reader of committed ones has seen or will see."""
        return [entry for entry in self.entries if entry.state in (COMMITTED, COMPACTED)]

    def tell(self, waiter: asyncio.Future[None]) -> None:
        """Let the future be done when something new can be read."""
        self._waiters[waiter] = None

    def forget(self, waiter: asyncio.Future[None]) -> None:
        """It is not waited for any more."""
        self._waiters.pop(waiter, None)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, {}
        for future in waiters:
            if not future.done():
                future.set_result(None)


def _wire(message: Message) -> tuple[int, bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]:
    return message.timestamp, message.key, message.value, message.headers
