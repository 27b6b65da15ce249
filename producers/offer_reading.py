"""The offers that are told while a producer runs: all that a shop hears from those who watch it."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaConsumer

from stream_app import topics
from stream_app.backends.clients import KafkaClients, kafka_call, stop_quietly
from stream_app.backends.newest import start_at_newest
from stream_app.backends.ports import LogError
from stream_app.discounts.core.records import Offer, decode
from stream_app.settings import Settings

#: How long a fetch waits for an offer, and a look for a fetch, in ms: an offer is made as soon as it is there.
_FETCH_WAIT_MS: Final = 100
_POLL_MS: Final = 1_000


class OfferReading:
    """Reads `discount.offers.v1` beside what else is done, from its newest on, committed records only.

    Use it as an async context manager; entering it raises LogError if Kafka does not answer or has no such topic.

    Attributes
    ----------
    unreadable
        Records that were no offers.
    """

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topic(topics.OFFERS)
        self._consumer: AIOKafkaConsumer = KafkaClients(settings).reader(fetch_wait_ms=_FETCH_WAIT_MS)
        self._reading: asyncio.Task[None] | None = None
        self._told: list[Offer] = []
        self.unreadable = 0

    async def __aenter__(self) -> Self:
        await start_at_newest("reading offers", self._consumer, self._topic, 0)
        self._reading = asyncio.create_task(self._read(), name="offers")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._reading is not None
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError, LogError):  # the latter was raised by `newest`, or is too late
            await self._reading
        await stop_quietly(self._consumer)

    def newest(self) -> list[Offer]:
        """What was told since the last call. Raises LogError if nothing more can be read."""
        if self._reading is not None and self._reading.done() and not self._reading.cancelled():
            self._reading.result()
        told, self._told = self._told, []
        return told

    async def _read(self) -> None:
        while True:
            found = await kafka_call("reading offers", self._consumer.getmany(timeout_ms=_POLL_MS))
            for records in found.values():
                for record in records:
                    offer = decode(Offer, record.value)
                    if isinstance(offer, Offer):
                        self._told.append(offer)
                    else:
                        self.unreadable += 1
