"""The memory twins of Kafka and Redis: the same protocols, without a server, for tests and replay.

They behave like the real ones where the loops can tell: appended records have offsets, a commit carries its metadata,
the view compares and sets. `fail` lets a test break the next calls.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

from stream_app.backends.ports import Committed, Polled, UnusableError, ViewError
from stream_app.core.effects import Effects, Keyed, Position, decode_position, encode_position


class MemoryRecord(NamedTuple):
    """A record as the processor reads it."""

    topic: str
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class MemoryBroker:
    """One partition's topics and commits, shared by successive owners."""

    def __init__(self) -> None:
        self.events: list[MemoryRecord] = []
        self.labels: list[MemoryRecord] = []
        self.outputs: dict[str, list[Keyed]] = defaultdict(list)
        self.dead_letters: list[tuple[bytes | None, str, int]] = []
        self.changelog: list[tuple[str, bytes | None]] = []
        self.commits: list[tuple[int, int, str]] = []
        #: operation → errors to raise at its next calls
        self.fail: dict[str, list[Exception]] = defaultdict(list)

    def append_event(self, value: bytes, *, timestamp: int, key: bytes | None = None) -> None:
        """Add a record to the events topic."""
        self.events.append(MemoryRecord("events", len(self.events), timestamp, key, value))

    def append_label(self, value: bytes, *, timestamp: int, key: bytes | None = None) -> None:
        """Add a record to the labels topic."""
        self.labels.append(MemoryRecord("labels", len(self.labels), timestamp, key, value))


class MemoryLog:
    """`PartitionLog` of one owner on a `MemoryBroker`; with `exactly_once` a failed batch leaves nothing."""

    def __init__(self, broker: MemoryBroker, *, exactly_once: bool = False) -> None:
        self._broker = broker
        self.atomic = exactly_once
        self._events = self._labels = 0

    async def take_over(self) -> Committed:
        """See `ports.PartitionLog`."""
        self._check("take_over")
        if not self._broker.commits:
            return Committed(0, 0, None, len(self._broker.events), begun=False)
        events, labels, metadata = self._broker.commits[-1]
        if events > len(self._broker.events) or labels > len(self._broker.labels):
            raise UnusableError(f"got committed offset {events}, expected 0 to {len(self._broker.events)}")
        return Committed(events, labels, decode_position(metadata), len(self._broker.events))

    async def knows(self, position: Position) -> bool:
        """See `ports.PartitionLog`."""
        return position.events_offset <= len(self._broker.events) and position.labels_offset <= len(self._broker.labels)

    async def seek(self, *, events_offset: int, labels_offset: int) -> None:
        """See `ports.PartitionLog`."""
        self._events, self._labels = events_offset, labels_offset

    async def poll(self, *, timeout_ms: int, records_max: int, labels: bool = True) -> Polled:
        """See `ports.PartitionLog`."""
        self._check("poll")
        events = self._broker.events[self._events : self._events + records_max]
        room = max(0, records_max - len(events)) if labels else 0
        told = self._broker.labels[self._labels : self._labels + room]
        self._events += len(events)
        self._labels += len(told)
        if not events and not told:
            await asyncio.sleep(min(timeout_ms, 5) / 1000)
        else:
            await asyncio.sleep(0)
        return Polled(events, told, not events and not told and self.lag() == 0)

    async def position(self) -> tuple[int, int]:
        """See `ports.PartitionLog`."""
        return self._events, self._labels

    async def publish(self, effects: Effects) -> int:
        """See `ports.PartitionLog`."""
        if self.atomic:
            for point in ("publish", "changelog", "commit"):
                self._check(point)
            self._write_outputs(effects)
            end = self._write_changelog(effects)
            self._commit(effects.position)
            self._check("published")
            return end
        self._check("publish")
        self._write_outputs(effects)
        self._check("changelog")
        end = self._write_changelog(effects)
        self._check("published")
        return end

    async def commit(self, position: Position) -> None:
        """See `ports.PartitionLog`."""
        if not self.atomic:
            self._check("commit")
            self._commit(position)

    async def check(self) -> None:
        """See `ports.PartitionLog`."""

    async def close(self) -> None:
        """See `ports.PartitionLog`."""

    async def changelog_end(self) -> int:
        """See `ports.PartitionLog`."""
        return len(self._broker.changelog)

    async def changelog(self, *, start: int, end: int) -> AsyncIterator[list[tuple[str, bytes | None]]]:
        """See `ports.PartitionLog`."""
        self._check("restore")
        yield self._broker.changelog[start:end]

    def lag(self) -> int:
        """See `ports.PartitionLog`."""
        return len(self._broker.events) - self._events + len(self._broker.labels) - self._labels

    def _write_outputs(self, effects: Effects) -> None:
        outputs = self._broker.outputs
        outputs["scores"] += effects.scores
        outputs["features"] += effects.features
        outputs["examples"] += effects.examples
        outputs["closed"] += effects.closed
        outputs["moments"] += effects.moments
        self._broker.dead_letters += [(letter.value, letter.reason, letter.offset) for letter in effects.dead_letters]

    def _write_changelog(self, effects: Effects) -> int:
        self._broker.changelog += effects.states.items()
        return len(self._broker.changelog) if effects.states else -1

    def _commit(self, position: Position) -> None:
        metadata = encode_position(position).decode()
        self._broker.commits.append((position.events_offset, position.labels_offset, metadata))

    def _check(self, operation: str) -> None:
        errors = self._broker.fail[operation]
        if errors:
            raise errors.pop(0)


class MemoryView:
    """`View` in a dict. `down` makes every call fail as an unreachable Redis does."""

    def __init__(self) -> None:
        self.positions: dict[int, bytes] = {}
        self.blobs: dict[tuple[int, str], bytes] = {}
        self.deadlines: dict[int, dict[str, int]] = defaultdict(dict)
        self.down = False

    def wipe(self) -> None:
        """As FLUSHALL."""
        self.positions.clear()
        self.blobs.clear()
        self.deadlines.clear()

    async def load(self, partition: int, visitors: Sequence[str]) -> tuple[Position | None, list[bytes | None]]:
        """See `ports.View`."""
        self._check()
        blobs = [self.blobs.get((partition, visitor)) for visitor in visitors]
        return decode_position(self.positions.get(partition)), blobs

    async def open_visitors(self, partition: int) -> dict[str, int]:
        """See `ports.View`."""
        self._check()
        return dict(self.deadlines[partition])

    async def write(
        self,
        partition: int,
        *,
        expected_seq: int,
        position: Position,
        states: Mapping[str, bytes | None],
        deadlines: Mapping[str, int | None],
    ) -> Position | None:
        """See `ports.View`."""
        self._check()
        encoded = encode_position(position)
        stored = self.positions.get(partition)
        if stored == encoded:
            return None
        if stored is None:
            if expected_seq != 0:
                return Position(seq=-1)
        elif (found := decode_position(stored)) is None or found.seq != expected_seq:
            return found or Position(seq=-1)
        for visitor, blob in states.items():
            if blob is None:
                self.blobs.pop((partition, visitor), None)
            else:
                self.blobs[partition, visitor] = blob
        for visitor, deadline in deadlines.items():
            if deadline is None:
                self.deadlines[partition].pop(visitor, None)
            else:
                self.deadlines[partition][visitor] = deadline
        self.positions[partition] = encoded
        return None

    async def clear(self, partition: int) -> None:
        """See `ports.View`."""
        self._check()
        self.positions.pop(partition, None)
        self.deadlines.pop(partition, None)
        for key in [key for key in self.blobs if key[0] == partition]:
            del self.blobs[key]

    def _check(self) -> None:
        if self.down:
            raise ViewError("the memory view is down")
