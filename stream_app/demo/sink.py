"""A sink that waits while too much is on its way: the embedded Kafka forgets what is not read soon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from producers.sink import Sink
from stream_app.core.codec import Rejected
from stream_app.core.events import CheckoutLabel, Event

#: Events between the producer and the scores: one full batch, 0.4 MB of the 20 MB that the embedded Kafka keeps.
BACKLOG_EVENTS_MAX: Final = 2_000
#: How often a waiting producer looks again, in seconds.
_LOOK_S: Final = 0.005


class HeldBackSink:
    """Passes everything on and counts it, but no event while `is_full()`.

    Parameters
    ----------
    sink
        Where it goes.
    is_full
        Whether the ones further down have enough, given how many events were sent.
    stop
        Ends every wait.
    rate
        Events per second on average, None for no limit.
    """

    def __init__(
        self, sink: Sink, *, is_full: Callable[[int], bool], stop: asyncio.Event, rate: float | None = None
    ) -> None:
        self._sink = sink
        self._is_full = is_full
        self._stop = stop
        self._rate = rate
        self._begun: float | None = None
        self.events = self.labels = self.dead_letters = 0

    @property
    def delivered(self) -> int:
        """Records known to have arrived."""
        return self._sink.delivered

    async def send_event(self, event: Event, *, due_ms: int | None = None) -> None:
        """Write an event when there is room and it is due."""
        await self._room()
        self.events += 1
        await self._sink.send_event(event, due_ms=due_ms)

    async def send_raw(self, value: bytes, *, key: str, due_ms: int | None = None) -> None:
        """Write bytes to the events topic when there is room: they are read like an event."""
        await self._room()
        self.events += 1
        await self._sink.send_raw(value, key=key, due_ms=due_ms)

    async def send_label(self, label: CheckoutLabel) -> None:
        """Write a label at once."""
        self.labels += 1
        await self._sink.send_label(label)

    async def send_dead_letter(self, raw: bytes, rejected: Rejected, *, source: str, row: int) -> None:
        """Write a rejected row at once."""
        self.dead_letters += 1
        await self._sink.send_dead_letter(raw, rejected, source=source, row=row)

    async def flush(self) -> None:
        """Return when everything has arrived."""
        await self._sink.flush()

    async def _room(self) -> None:
        while self._is_full(self.events) and not self._stop.is_set():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)  # two loops of this process feed one another: looking is simpler than telling
        if self._rate is None:
            return
        now = asyncio.get_running_loop().time()
        if self._begun is None:
            self._begun = now
        ahead = self._begun + self.events / self._rate - now
        if ahead > _LOOK_S and not self._stop.is_set():
            await asyncio.sleep(ahead)
