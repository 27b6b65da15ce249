"""What the owner of a partition says that it will do, before it does it (`at_least_once`; docs/adr/0019).

Events alone come to the same however they are cut into batches. Labels, the clock, and more sessions that end at once
than one batch takes do not: where they met the events has to be known, or a crash between a batch's outputs and its
states makes another story of it. So such a batch is announced, as an offset commit whose metadata says what it is. What
follows it may be any number of batches of events alone, up to `Planned.window_to`.

The next owner carries out the announced batch, and then events alone up to that bound or to where the log ended when it
took over, whichever comes first (`labels_wait_s`). Whatever the former one had read lies before both, as it asks, after
it has read and before it writes, whether the group can have given the partition to another: not within `lease_s` of a
commit that the group took. After that it announces again, which a group that has forgotten it refuses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from stream_app.backends.ports import PartitionLog
from stream_app.core.effects import Planned, Position
from stream_app.core.plan import Plan

#: Events that may follow an announcement without another one: so many, at the most, a next owner reads before labels.
WINDOW_EVENTS: Final = 32_768

#: A batch with labels is announced, which takes a round trip: labels wait so long for each other.
LABELS_S: Final = 0.1

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None)


def boot_time() -> float:
    """Seconds that pass while the machine sleeps, too, where it has such a clock: the group does not sleep with it."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


class Announcements:
    """Those of one owner. With `lease_s` 0 every batch is announced."""

    def __init__(self, log: PartitionLog, *, lease_s: float, boottime: Callable[[], float]) -> None:
        self._log, self._lease_s, self._boottime = log, lease_s, boottime
        #: what a former owner announced, until it is carried out
        self._inherited: Planned | None = None
        #: events up to here are read before any label
        self._held_to = 0
        self._window_to = -1
        #: when the last commit that the group took was sent
        self._heard = float("-inf")
        self._committed_seq = 0
        self._labels_taken = float("-inf")

    def start(self, committed: Position, planned: Planned | None, *, events_end: int) -> None:
        """Begin after a take-over: what a former owner had announced, and where the log ended then."""
        self._inherited, self._committed_seq = planned, committed.seq
        self._held_to = min(planned.window_to, events_end) if planned is not None else 0
        self._window_to, self._heard = -1, float("-inf")

    def labels_wait_s(self, position: Position) -> float:
        """For how many seconds labels are to be left where they are; 0 if they are not.

        Always while a former owner may have scored the events that come next, without newer labels.
        """
        if position.events_offset < self._held_to:
            return LABELS_S
        return max(0.0, self._labels_taken + LABELS_S - self._boottime())

    def took_labels(self) -> None:
        """Labels were read just now."""
        self._labels_taken = self._boottime()

    def nothing_more_before(self, events_offset: int) -> None:
        """There are no events left before this offset: the end may be behind offsets that hold no record."""
        if events_offset >= self._held_to:
            self._held_to = 0

    def carried_out(self) -> None:
        """What the former owner had announced is done."""
        self._inherited = None

    def needed(self, plan: Plan, *, alone: bool) -> bool:
        """Whether a batch must be announced; `alone`: it consists of events alone. To be asked once they were read."""
        return (
            not alone
            or plan.more_due
            or plan.events_offset > self._window_to
            or self._boottime() - self._heard >= self._lease_s
        )

    async def announce(self, position: Position, plan: Plan, idle_ms: int, *, durable: Position) -> None:
        """Commit what the batch after `position` will be, and `durable`, which the view has.

        Raises LogError if Kafka did not answer, or the group has given the partition to another.
        """
        await self._commit(durable, self._planned(position, plan.events_offset, plan.labels_offset, idle_ms))

    async def commit(self, position: Position, *, durable: Position) -> None:
        """Commit what the view has, if that was not done: in a pause of the records.

        Raises LogError as `announce` does.
        """
        if durable.seq != self._committed_seq:
            await self.renew(position, durable=durable)

    async def renew(self, position: Position, *, durable: Position) -> None:
        """Commit what the view has in any case: the group refuses it if it has given the partition to another.

        Raises LogError as `announce` does.
        """
        planned = self._inherited or self._planned(position, position.events_offset, position.labels_offset, 0)
        await self._commit(durable, planned)

    def _planned(self, position: Position, events_to: int, labels_to: int, idle_ms: int) -> Planned:
        return Planned(
            position.events_offset,
            position.labels_offset,
            events_to,
            labels_to,
            position.watermark,
            idle_ms,
            max(events_to + WINDOW_EVENTS, self._held_to),
        )

    async def _commit(self, durable: Position, planned: Planned) -> None:
        sent = self._boottime()
        await self._log.commit(msgspec.structs.replace(durable, planned=planned))
        self._heard, self._window_to, self._committed_seq = sent, planned.window_to, durable.seq
