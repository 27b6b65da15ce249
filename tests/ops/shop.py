"""A small shop that is open now: so many events a second, labels of its order system, and what an operator fears."""

from __future__ import annotations

import asyncio
import random
import time
from itertools import count
from typing import Final

from producers.sink import KafkaSink
from stream_app.core.events import CheckoutLabel, Event
from stream_app.settings import Settings

#: Who comes; a visit is a few seconds, so that sessions end and there is something to learn all the time.
VISITORS: Final = 400

#: Of the events; a label tells of another visitor's checkout, so that both sources are heard.
PURCHASES: Final = 0.03
LABELS: Final = 0.15

_TICK_S: Final = 0.05
_TYPES: Final = ("page_view", "view_item", "view_item", "search", "add_to_cart")


class LiveShop:
    """Sends from `run` until cancelled. The attributes may be set at any moment."""

    def __init__(self, settings: Settings, *, rate: float) -> None:
        self._settings = settings
        self._chance = random.Random(7)
        self._number = count(1)
        #: events a second
        self.rate = rate
        #: whether the order system tells of its checkouts
        self.labels = True
        #: broken records for each event
        self.broken = 0.0

    async def run(self) -> None:
        """Send."""
        settings = self._settings
        async with KafkaSink(settings.kafka_bootstrap, topic_prefix=settings.topic_prefix) as sink:
            due, last = 0.0, time.monotonic()
            while True:
                await asyncio.sleep(_TICK_S)
                now = time.monotonic()
                due += self.rate * min(now - last, 1.0)
                last = now
                while due >= 1:
                    due -= 1
                    await self._send_one(sink)
                await sink.flush()

    async def _send_one(self, sink: KafkaSink) -> None:
        chance, number, now_ms = self._chance, next(self._number), int(time.time() * 1000)
        visitor = f"v{chance.randrange(VISITORS)}"
        bought = chance.random() < PURCHASES
        kind = "purchase" if bought else chance.choice(_TYPES)
        await sink.send_event(
            Event(
                event_id=f"e{number}",
                event_type=kind,  # type: ignore[arg-type]
                event_time=now_ms,
                visitor_id=visitor,
                item_id=f"i{chance.randrange(200)}",
                order_id=f"o{number}" if bought else None,
                price=10.0,
            )
        )
        if self.labels and chance.random() < LABELS:
            await sink.send_label(CheckoutLabel(visitor_id=visitor, order_id=f"l{number}", checkout_time=now_ms))
        if chance.random() < self.broken:
            await sink.send_raw(b"{", key=visitor)
