"""How late it is for a partition's sessions, on the clock of their events' times, in ms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from stream_app.discounts.core.records import Moment


class Clock(Protocol):
    """What a partition asks for the time."""

    def placed(self, moment: Moment) -> Moment:
        """A moment that has come, with a time of its event that fits the clock."""

    def now_ms(self) -> int:
        """The time."""


class WallClock:
    """The machine's clock: events tell the time at which they come."""

    def __init__(self, wall_s: Callable[[], float]) -> None:
        self._wall_s = wall_s

    def placed(self, moment: Moment) -> Moment:
        """An event cannot have happened after it was scored: where a visitor's clock is ahead, it is when it was."""
        if moment.event_time <= moment.scored_at:
            return moment
        return msgspec.structs.replace(moment, event_time=moment.scored_at)

    def now_ms(self) -> int:
        """The time."""
        return int(self._wall_s() * 1000)


class EventClock:
    """The newest event's time, going on as the wall's clock does while none comes: for replays and made-up shops.

    One event with a time far ahead takes it along: for live traffic the wall's clock is the right one.
    """

    def __init__(self, wall_s: Callable[[], float]) -> None:
        self._wall_s = wall_s
        self._newest, self._since = 0, 0.0

    def placed(self, moment: Moment) -> Moment:
        """As it is; the clock moves on if it is later."""
        if moment.event_time > self.now_ms():
            self._newest, self._since = moment.event_time, self._wall_s()
        return moment

    def now_ms(self) -> int:
        """The time; 0 before any event."""
        return self._newest + int(1000 * (self._wall_s() - self._since)) if self._newest else 0
