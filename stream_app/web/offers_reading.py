"""The offers that are made while somebody looks: the topic's newest ones, and then each as it comes."""

from __future__ import annotations

import asyncio
from typing import Final

from aiokafka import AIOKafkaConsumer

from stream_app import topics
from stream_app.backends.clients import KafkaClients, kafka_call, stop_quietly
from stream_app.backends.newest import start_at_newest
from stream_app.backends.ports import LogError
from stream_app.core.codec import Rejected
from stream_app.discounts.core.records import Offer, decode
from stream_app.live.offers import Offers
from stream_app.settings import Settings

#: So many of the newest records are read when somebody begins to look: more than are kept, since partitions are uneven.
_NEWEST: Final = 200

#: Records of one look, and how long it waits for them.
_POLL_RECORDS: Final = 500
_POLL_MS: Final = 20

#: Pause after a failure, or while there is no such topic, in seconds.
_AGAIN_S: Final = 15.0


class OffersReading:
    """`offers` are what was read; `problem` says why there are none, None where they can be read."""

    def __init__(self, settings: Settings) -> None:
        self.offers = Offers()
        self.problem: str | None = "not asked yet"
        self._topic = settings.topic(topics.OFFERS)
        self._clients = KafkaClients(settings)
        self._consumer: AIOKafkaConsumer | None = None
        self._next = -float("inf")
        self._looking = asyncio.Lock()

    async def refresh(self, now: float) -> None:
        """Read what has come; `now` in seconds. A Kafka that does not answer is a problem told, and asked again."""
        async with self._looking:
            if now < self._next:
                return
            try:
                await self._read()
            except LogError as error:
                self.problem, self._next = str(error), now + _AGAIN_S
                await self._stop()

    async def close(self) -> None:
        """Nobody looks any more; what was read stays."""
        async with self._looking:
            await self._stop()

    async def _read(self) -> None:
        if self._consumer is None:
            consumer = self._clients.reader()
            await start_at_newest("reading offers", consumer, self._topic, _NEWEST)
            self._consumer = consumer
        self.problem = None
        found = await kafka_call(
            "reading offers", self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        )
        for records in found.values():
            for record in records:
                # What is no offer is the subscribers' to complain of: the page shows what it can.
                if not isinstance(offer := decode(Offer, record.value), Rejected):
                    self.offers.take(offer)

    async def _stop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_quietly(consumer)
