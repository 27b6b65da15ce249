"""Decisions into Kafka: a partition's exposures and offers in one transaction, by the partition's own producer.

Starting it fences the partition's former owner and settles what that one left open. It is never used again after a
failure, a time-out or a cancelled call: what it has under way may still arrive (RELIABILITY §2.1).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from stream_app import topics
from stream_app.backends.clients import (
    KafkaClients,
    TransactionalProducer,
    all_acknowledged,
    start_transactional,
    stop_quietly,
    transaction,
)
from stream_app.backends.ports import LogError
from stream_app.discounts.core.records import Exposure, Offer, encode
from stream_app.settings import Settings


class Decided(NamedTuple):
    """What is written of one session: its exposure, and the offer if there is one."""

    exposure: Exposure
    offer: Offer | None


def transactional_id(settings: Settings, partition: int) -> str:
    """Of a partition's writer: whoever starts a producer under it is the one that may write."""
    return f"{settings.namespace}-discounts-{partition}"


class DecisionWriter:
    """One partition's writer."""

    def __init__(self, settings: Settings, partition: int, *, clients: KafkaClients) -> None:
        self._clients, self._partition = clients, partition
        self._client_id = f"{settings.group_id}-discounts"
        self._transactional_id = transactional_id(settings, partition)
        self._exposures, self._offers = settings.topic(topics.EXPOSURES), settings.topic(topics.OFFERS)
        self._producer: TransactionalProducer | None = None

    async def fence(self) -> None:
        """Take the right to write from the former owner. Raises LogError."""
        await self.close()
        producer = self._clients.transactional_producer(self._transactional_id, client_id=self._client_id)
        await start_transactional("fencing the former owner", producer)
        self._producer = producer

    async def write(self, decided: Sequence[Decided]) -> None:
        """Write all of it, or nothing.

        Raises
        ------
        FencedError
            Another owner has started its producer.
        LogError
            Anything else; whether it was written is known after the next `fence`.
        """
        producer = self._producer
        if producer is None:
            raise LogError("writing: the producer was given up; take the partition over again")
        try:
            async with transaction("writing", producer, rival="another owner writes to this partition"):
                await self._transact(producer, decided)
        except (Exception, asyncio.CancelledError):
            await asyncio.shield(self.close())
            raise

    async def close(self) -> None:
        """Stop the producer; what it has not committed never was."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_quietly(producer)

    async def _transact(self, producer: TransactionalProducer, decided: Sequence[Decided]) -> None:
        await producer.begin_transaction()
        now_ms = int(time.time() * 1000)
        waiting = []
        for exposure, offer in decided:
            key = exposure.visitor_id.encode()
            for topic, record in ((self._exposures, exposure), (self._offers, offer)):
                if record is not None:
                    value = encode(record)
                    sent = await producer.send(topic, value, key=key, partition=self._partition, timestamp_ms=now_ms)
                    waiting.append(sent)
        # Without every acknowledgement nothing is committed. (aiokafka itself would commit although a batch failed.)
        await all_acknowledged(waiting)
        await producer.commit_transaction()
