"""Open-loop pacing: every event has a moment at which it is due, fixed by the start alone.

A slow sink makes events late but never moves the schedule, so a load test sees the queue it has caused (pacing from
the last send would hide it: coordinated omission, G. Tene, "How NOT to Measure Latency", 2015). For the same reason
records are stamped with when they were due (`due_ms`): whoever counts from the stamp counts the sender's own lateness.
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

#: A sender that was this late, in seconds, says so. Less is what a busy machine does to any process now and then.
_LATE_SECONDS_TOLD: Final = 0.1


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
        self._start_ms = 0
        self._events = 0
        #: events that were later than is told of, and how late one was at the most, in seconds
        self.late = 0
        self.late_seconds_max = 0.0

    async def wait(self, at: float) -> None:
        """Return when the event at `at` seconds of its timeline is due; the first one is due at once."""
        self._events += 1
        if self._events % _EVENTS_PER_TURN == 0:
            await asyncio.sleep(0)
        if self._speed is None:
            return
        if self._start is None:
            self._start, self._start_ms, self._origin = self._clock.monotonic(), self._clock.now_ms(), at
            return
        ahead = self.ahead(at)
        if ahead >= _SLEEP_SECONDS_MIN:
            await self._clock.sleep(ahead, self._stop)
        elif ahead < -_LATE_SECONDS_TOLD:
            self.late += 1
            self.late_seconds_max = max(self.late_seconds_max, -ahead)

    def due_ms(self, at: float) -> int | None:
        """When the event at `at` is due by the wall clock, ms since the epoch; None without a pace or a first event."""
        if self._speed is None or self._start is None:
            return None
        return self._start_ms + int((at - self._origin) / self._speed * 1000)

    def notes(self) -> list[str]:
        """What a person should be told of it: a load test whose sender was late has measured the sender, too."""
        if not self.late:
            return []
        return [
            f"{self.late:,} of {self._events:,} records were sent over {_LATE_SECONDS_TOLD} s after they were due, "
            f"up to {self.late_seconds_max:,.1f} s: the pace was too fast for the sender or for Kafka (records are "
            "stamped with when they were due, so latencies count from there)"
        ]

    def ahead(self, at: float) -> float:
        """Seconds until the event at `at` is due: negative where it is late, 0 without a pace or a first event."""
        if self._speed is None or self._start is None:
            return 0.0
        return self._start + (at - self._origin) / self._speed - self._clock.monotonic()
