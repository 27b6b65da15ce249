"""What the loops ask of Kafka and Redis: narrow protocols, with a memory twin of each in `memory.py`.

One contract suite (`tests/contracts`) runs over the twins and over real servers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from stream_app.core.effects import Effects, Position
from stream_app.core.processor import Record


class LogError(Exception):
    """Kafka did not do what was asked. Retryable: take the partition over again."""


class BehindError(LogError):
    """Kafka tells less than it is known to have: a coordinator that is still reading its log. Try again for a while."""


class ViewError(Exception):
    """Redis did not answer. Retryable: try again, later."""


class FencedError(Exception):
    """Another owner has this partition or this topic now: stop, and begin anew only if it is still given to us."""


class UnusableError(Exception):
    """A person must act: the text says what was got, what was expected, what to do."""


class Polled(NamedTuple):
    """New records of one partition, in offset order; `at_end` when there was nothing more to read."""

    events: Sequence[Record]
    labels: Sequence[Record]
    at_end: bool

    @property
    def records(self) -> int:
        """How many."""
        return len(self.events) + len(self.labels)


class Committed(NamedTuple):
    """What a partition's group has committed: offsets to read next, and the position that travelled with them.

    Offsets that were set by hand carry none. Not `begun`: nothing was ever committed, or it is gone. `events_end` is
    where the events ended when this was asked for.
    """

    events_offset: int
    labels_offset: int
    position: Position | None
    events_end: int
    begun: bool = True


class PartitionLog(Protocol):
    """One partition's side of Kafka: its input, its outputs and its changelog.

    `atomic`: a batch is published whole or not at all, and its offsets with it.
    """

    @property
    def atomic(self) -> bool: ...  # noqa: D102

    async def take_over(self) -> Committed:
        """Fence the former owner where the guarantee can, and only then read what is committed.

        Raises LogError, or UnusableError if the committed offsets lie outside the log.
        """
        ...

    async def knows(self, position: Position) -> bool:
        """Whether a position is one of these very topics, and its offsets are still there."""
        ...

    async def seek(self, *, events_offset: int, labels_offset: int) -> None:
        """Read on from these offsets."""
        ...

    async def poll(self, *, timeout_ms: int, records_max: int, labels: bool = True) -> Polled:
        """Wait for new records, at most `timeout_ms`; `labels` can be left for later."""
        ...

    async def position(self) -> tuple[int, int]:
        """The offsets of events and labels to read next."""
        ...

    async def publish(self, effects: Effects) -> int:
        """Write outputs and changelog, and wait for all acknowledgements; the changelog's next offset, −1 if none.

        Raises LogError if any record was not acknowledged (some may have been, and be seen, with `at_least_once`; with
        `exactly_once` all or none), FencedError if another owner writes.
        """
        ...

    async def commit(self, position: Position) -> None:
        """Commit the position's offsets with the position, and what it says is planned, as metadata.

        Raises LogError if this owner is known to be none any more. Nothing to do where `atomic`.
        """
        ...

    async def check(self) -> None:
        """In a pause: raise LogError if somebody else wrote to the changelog since. Not called where `atomic`."""
        ...

    async def close(self) -> None:
        """Give up what belongs to this owner."""
        ...

    async def changelog_end(self) -> int:
        """The changelog's next offset."""
        ...

    def changelog(self, *, start: int, end: int) -> AsyncIterator[list[tuple[str, bytes | None]]]:
        """The changelog's records from offset `start` (clipped to what is kept) up to `end`, in chunks.

        Raises LogError if it makes no progress.
        """
        ...

    def lag(self) -> int:
        """Records not read yet, as far as known."""
        ...


class View(Protocol):
    """Redis as the materialised view of the visitors' states. Any call raises ViewError when Redis does not answer."""

    async def load(self, partition: int, visitors: Sequence[str]) -> tuple[Position | None, list[bytes | None]]:
        """The partition's stored position and the visitors' blobs, in one call."""
        ...

    async def open_visitors(self, partition: int) -> dict[str, int]:
        """Visitor → deadline of those with something open."""
        ...

    async def write(
        self,
        partition: int,
        *,
        expected_seq: int,
        position: Position,
        states: Mapping[str, bytes | None],
        deadlines: Mapping[str, int | None],
    ) -> Position | None:
        """Compare-and-set: apply if the stored seq is the expected one, or nothing is stored and 0 is expected.

        Returns None when applied (also when this very write had been applied before), else the stored position; a
        missing one is returned as a position of seq −1.
        """
        ...

    async def clear(self, partition: int) -> None:
        """Delete everything of the partition."""
        ...
