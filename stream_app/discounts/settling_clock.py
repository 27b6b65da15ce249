"""How far event time has come over all partitions of the events: the clock by which outcomes mature.

Each partition has the watermark that the scoring engine has (`stream_app.core.watermark`), so that a replay of last
year's clicks is settled on last year's clock and a phone that lives in tomorrow settles nothing. Of partitions that
are not read to their end the one that is furthest behind counts; when all are, nothing is behind the newest event, and
while nothing comes the wall clock moves time on.
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from stream_app.core.watermark import UNKNOWN, Watermark
from stream_app.discounts.orders import EventTime


class SettlingClock:
    """The watermarks of partitions, by number. Event times within `grace_ms` of the broker's are prompt."""

    def __init__(self, *, grace_ms: int) -> None:
        self._grace_ms = grace_ms
        self._watermarks: dict[int, Watermark] = {}

    def observe(self, partition: int, told: EventTime, *, received: int) -> None:
        """Take an event into account, in offset order; `received` is the broker's timestamp."""
        watermark = self._watermarks.setdefault(partition, Watermark())
        visitor = crc32(told.visitor_id.encode())
        watermark.observe(told.event_time, visitor, received=received, grace_ms=self._grace_ms)

    def idle(self, elapsed_ms: int) -> None:
        """Everything is read to its end, and nothing has come for so long."""
        for watermark in self._watermarks.values():
            watermark.advance(elapsed_ms)

    def time(self, *, unread: Iterable[int]) -> int | None:
        """Event time in ms; None while it is not known. `unread`: partitions that are not read to their end."""
        behind = [self._newest(partition) for partition in unread]
        time = min(behind) if behind else max((mark.newest for mark in self._watermarks.values()), default=UNKNOWN)
        return None if time == UNKNOWN else time

    def _newest(self, partition: int) -> int:
        watermark = self._watermarks.get(partition)
        return watermark.newest if watermark is not None else UNKNOWN
