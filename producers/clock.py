"""Time as producers see it, so that pacing can be tested without waiting."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock to pace by and a wall clock to stamp with."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment, never going back."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""

    async def sleep(self, seconds: float, stop: asyncio.Event) -> None:
        """Wait for `seconds`, or until `stop` is set."""


class SystemClock:
    """The real time."""

    def monotonic(self) -> float:
        """Seconds, as `time.monotonic`."""
        return time.monotonic()

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float, stop: asyncio.Event) -> None:
        """Wait for `seconds`, or until `stop` is set."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
