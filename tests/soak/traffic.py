"""The shop of a soak: open as long as the run lasts, in wall-clock time, with repeats, late and broken records, labels.

Its visitors are a fixed crowd who come again and again, and its sessions last seconds: all that a deployment holds for
them is there after some minutes, so that whatever grows from then on is a leak.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Final

import msgspec

from producers.sink import KafkaSink, SinkError
from producers.synthetic.noise import BrokenRecord, Noise, disturb
from producers.synthetic.shop import Fact, Shop
from stream_app.core.events import CheckoutLabel
from stream_app.settings import Settings

#: The shop's half minutes between two events become seconds, and a visit is over before its workers are killed again.
QUICKER: Final = 30

#: The crowd: larger than the workers' caches (`stage.SETTINGS`), so that states come back from Redis all the time.
VISITORS: Final = 8_000

#: What networks and clients do to it; the seed decides to which.
NOISE: Final = Noise(duplicates=0.01, late=0.01, broken=0.002)

#: Share of the purchases that only the order system tells.
_LABEL_SHARE: Final = 0.3

_EVENTS_PER_VISIT: Final = 5
_TICK_S: Final = 0.02
_RETRY_S: Final = 0.5


class Traffic:
    """Sends `rate` records a second, from `run` until `stop`. What an outage holds up is not made up for afterwards."""

    def __init__(self, settings: Settings, *, seed: int, rate: float) -> None:
        self._settings = settings
        self._seed = seed
        self._usual = rate
        self.rate = rate
        self.sent = 0
        #: how often Kafka was away for so long that the client had to be made anew
        self.reopened = 0
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Send what is under way, then end `run`."""
        self._stopping.set()

    async def run(self) -> None:
        """Send until stopped."""
        deliveries = disturb(self._facts(), NOISE, seed=self._seed)
        while not self._stopping.is_set():
            try:
                settings = self._settings
                async with KafkaSink(settings.kafka_bootstrap, topic_prefix=settings.topic_prefix) as sink:
                    await self._send(sink, deliveries)
                    await sink.flush()
            except SinkError:
                # What had not been acknowledged may be in Kafka or not: the audit takes the input as it finds it.
                self.reopened += 1
                await asyncio.sleep(_RETRY_S)

    async def burst(self, *, times: float, seconds: float) -> None:
        """So many times the rate for a while."""
        self.rate = self._usual * times
        await asyncio.sleep(seconds)
        self.rate = self._usual

    async def _send(self, sink: KafkaSink, deliveries: Iterator[Fact | BrokenRecord]) -> None:
        due, last = 0.0, time.monotonic()
        while not self._stopping.is_set():
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            due, last = min(due + (now - last) * self.rate, self.rate), now
            while due >= 1.0:
                due -= 1.0
                delivery = next(deliveries)
                if isinstance(delivery, CheckoutLabel):
                    await sink.send_label(delivery)
                elif isinstance(delivery, BrokenRecord):
                    await sink.send_raw(delivery.value, key=delivery.key)
                else:
                    await sink.send_event(delivery)
                self.sent += 1

    def _facts(self) -> Iterator[Fact]:
        """The shop's facts, each as happening in the moment it is asked for."""
        per_hour = self._usual / _EVENTS_PER_VISIT * 3600 / QUICKER
        shop = Shop(seed=self._seed, start_ms=0, sessions_per_hour=per_hour, label_share=_LABEL_SHARE)
        shop_time = now = 0
        for fact in shop:
            now = max(now, int(time.time() * 1000))
            number = int(fact.visitor_id.rpartition("-")[2]) % VISITORS
            # Half of them leave their sessions to the inactivity gap.
            session_id = fact.session_id if number % 2 else None
            if isinstance(fact, CheckoutLabel):
                assert isinstance(fact.checkout_time, int)
                ago = max(0, shop_time - fact.checkout_time) // QUICKER
                yield msgspec.structs.replace(
                    fact, visitor_id=f"v{number}", session_id=session_id, checkout_time=now - ago
                )
            else:
                assert isinstance(fact.event_time, int)
                shop_time = fact.event_time
                yield msgspec.structs.replace(fact, visitor_id=f"v{number}", session_id=session_id, event_time=now)
