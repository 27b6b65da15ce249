"""The broker's transaction coordinator: who may write under a transactional id, and how transactions end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiokafka.errors import (
    ConcurrentTransactions,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
)
from aiokafka.structs import OffsetAndMetadata, TopicPartition

EMPTY, ONGOING, COMMITTING, ABORTING, COMMITTED, ABORTED = range(6)

#: Of a marker's write, in seconds, when nothing is wrong (measured: about 2 ms).
MARKER_S: Final = 0.002

Offsets = dict[TopicPartition, OffsetAndMetadata]


class Transactional:
    """One transactional id."""

    def __init__(self, name: str, producer: int) -> None:
        self.name, self.producer = name, producer
        self.epoch = -1
        self.state = EMPTY
        self.partitions: dict[TopicPartition, None] = {}
        self.offsets: dict[str, Offsets] = {}
        self.number = 0
        self.timeout_s = 10.0


class TransactionCoordinator:
    """All transactional ids. `complete` writes the markers and takes the offsets over; `later` waits in world time."""

    def __init__(
        self,
        *,
        complete: Callable[[Transactional, bool], None],
        later: Callable[[float, Callable[[], None]], None],
        marker_s: Callable[[], float],
        new_producer_id: Callable[[], int],
    ) -> None:
        self._complete, self._later, self._marker_s = complete, later, marker_s
        self._new_producer_id = new_producer_id
        self._ids: dict[str, Transactional] = {}

    def init(self, name: str, timeout_s: float) -> tuple[int, int]:
        """InitProducerId: fence the former producer, settle what it left open; its id and the new epoch."""
        found = self._ids.get(name)
        if found is None:
            found = self._ids[name] = Transactional(name, self._new_producer_id())
        if found.state in (COMMITTING, ABORTING):
            raise ConcurrentTransactions
        if found.state == ONGOING:
            # The old epoch is fenced from here on; the new one is given when the abort is through.
            found.epoch += 1
            self._end(found, ABORTING)
            raise ConcurrentTransactions
        found.epoch += 1
        found.timeout_s = timeout_s
        found.state = EMPTY
        return found.producer, found.epoch

    def add_partitions(self, name: str, producer: int, epoch: int, places: list[TopicPartition]) -> None:
        """AddPartitionsToTxn: begins the transaction."""
        found = self._begin(name, producer, epoch)
        found.partitions.update(dict.fromkeys(places))

    def add_offsets(self, name: str, producer: int, epoch: int, group: str) -> None:
        """AddOffsetsToTxn."""
        self._begin(name, producer, epoch).offsets.setdefault(group, {})

    def commit_offsets(self, name: str, producer: int, epoch: int, group: str, offsets: Offsets) -> None:
        """TxnOffsetCommit: pending until the marker. Without the group's generation, as aiokafka sends it."""
        found = self._check(name, producer, epoch)
        if found.state != ONGOING or group not in found.offsets:
            raise InvalidTxnState
        found.offsets[group].update(offsets)

    def check_produce(self, name: str, producer: int, epoch: int, place: TopicPartition) -> None:
        """What a leader asks before it appends (KIP-890): is this partition in this transaction?"""
        found = self._check(name, producer, epoch)
        if found.state != ONGOING or place not in found.partitions:
            raise InvalidTxnState

    def end(self, name: str, producer: int, epoch: int, *, commit: bool) -> None:
        """EndTxn, version 0: it does not say which transaction it ends (KAFKA-17754)."""
        found = self._check(name, producer, epoch)
        if found.state in (COMMITTING, ABORTING):
            if (found.state == COMMITTING) != commit:
                raise InvalidTxnState
            raise ConcurrentTransactions
        if found.state in (COMMITTED, ABORTED):
            if (found.state == COMMITTED) != commit:
                raise InvalidTxnState
            return
        if found.state != ONGOING:
            raise InvalidTxnState
        self._end(found, COMMITTING if commit else ABORTING)

    def open(self) -> list[str]:
        """Ids with a transaction that has not ended."""
        return [name for name, found in self._ids.items() if found.state in (ONGOING, COMMITTING, ABORTING)]

    def _check(self, name: str, producer: int, epoch: int) -> Transactional:
        found = self._ids.get(name)
        if found is None or found.producer != producer:
            raise InvalidProducerIdMapping
        if epoch != found.epoch:
            raise InvalidProducerEpoch
        return found

    def _begin(self, name: str, producer: int, epoch: int) -> Transactional:
        found = self._check(name, producer, epoch)
        if found.state in (COMMITTING, ABORTING):
            raise ConcurrentTransactions
        if found.state != ONGOING:
            found.state = ONGOING
            found.partitions, found.offsets = {}, {}
            found.number += 1
            number = found.number
            self._later(found.timeout_s, lambda: self._time_out(found, number))
        return found

    def _time_out(self, found: Transactional, number: int) -> None:
        if found.state == ONGOING and found.number == number:
            found.epoch += 1
            self._end(found, ABORTING)

    def _end(self, found: Transactional, state: int) -> None:
        found.state = state

        def write() -> None:
            found.state = COMMITTED if state == COMMITTING else ABORTED
            self._complete(found, state == COMMITTING)

        self._later(self._marker_s(), write)
