"""`discount.outcomes.v1`, written: each outcome to the partition of its exposure, at least once."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer

from stream_app import topics
from stream_app.backends.clients import (
    Headers,
    KafkaClients,
    all_acknowledged,
    filled_batches,
    kafka_call,
    start_client,
    stop_quietly,
)
from stream_app.discounts.core.records import encode
from stream_app.discounts.core.settling import Due
from stream_app.settings import Settings


class OutcomeLog:
    """The writer. Every method raises LogError when Kafka does not answer; it is given up then."""

    def __init__(self, settings: Settings, clients: KafkaClients) -> None:
        self._clients = clients
        self._topic = settings.topic(topics.OUTCOMES)
        self._client_id = f"{settings.group_id}-outcomes"
        self._producer: AIOKafkaProducer | None = None

    async def write(self, due: Sequence[Due]) -> None:
        """Write them; when this returns, they are there."""
        if self._producer is None:
            producer = self._clients.producer(client_id=self._client_id)
            await start_client("starting to write outcomes", producer)
            self._producer = producer
        by_partition: defaultdict[int, list[tuple[bytes, bytes | None, Headers]]] = defaultdict(list)
        for partition, outcome in due:
            by_partition[partition].append((outcome.exposure.visitor_id.encode(), encode(outcome), ()))
        await kafka_call("writing outcomes", self._send(self._producer, by_partition))

    async def stop(self) -> None:
        """Close."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_quietly(producer)

    async def _send(
        self, producer: AIOKafkaProducer, records: dict[int, list[tuple[bytes, bytes | None, Headers]]]
    ) -> None:
        now_ms = int(time.time() * 1000)
        waiting = [
            await producer.send_batch(batch, self._topic, partition=partition)
            for partition, of_one in records.items()
            for batch in filled_batches(producer, of_one, now_ms=now_ms)
        ]
        await all_acknowledged(waiting)
