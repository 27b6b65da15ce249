"""Open-loop pacing: every event has a moment at which it is due, fixed by the start alone.

A slow sink makes events late but never moves the schedule, so a load test sees the queue it has caused (pacing from
the last send would hide it: coordinated omission).
"""

from __future__ import annotations

import asyncio
from typing import Final

from producers.clock import Clock

#: At full speed the loop is given a turn after this many events: often enough for Ctrl-C and sends, rarely enough to
#: cost nothing (a turn takes about 5 µs).
_EVENTS_PER_TURN: Final = 256

#: The event loop does not wake more finely than this; shorter waits are left to add up.
_SLEEP_SECONDS_MIN: Final = 0.001


class Pacer:
    """Waits until an event is due.

    Parameters
    ----------
    clock
        What to wait by.
    speed
        Seconds of the events' own timeline that pass in one second; None is as fast as the sink takes them.
    stop
        Ends every wait at once.
    """

    def __init__(self, clock: Clock, *, speed: float | None, stop: asyncio.Event) -> None:
        if speed is not None and not speed > 0:
            raise ValueError(f"got speed {speed}, expected a number above 0, or None for no pacing")
        self._clock = clock
        self._speed = speed
        self._stop = stop
        self._start: float | None = None
        self._origin = 0.0
        self._events = 0

    async def wait(self, at: float) -> None:
        """Return when the event at `at` seconds of its timeline is due; the first one is due at once."""
        self._events += 1
        if self._events % _EVENTS_PER_TURN == 0:
            await asyncio.sleep(0)
        if self._speed is None:
            return
        if self._start is None:
            self._start, self._origin = self._clock.monotonic(), at
            return
        due = self._start + (at - self._origin) / self._speed
        ahead = due - self._clock.monotonic()
        if ahead >= _SLEEP_SECONDS_MIN:
            await self._clock.sleep(ahead, self._stop)
