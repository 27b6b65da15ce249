"""Moments as the workers tell them, and their way into Kafka."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaProducer

from stream_app import topics
from stream_app.discounts.core.records import Moment, encode
from stream_app.settings import Settings


def moment(visitor: str, session: str, *, number: int = 1, kind: str = "band", **said: Any) -> Moment:
    """Of a session that is on the fence with 50 in its cart, by an event that has just come."""
    now_ms = int(time.time() * 1000)
    event_id = f"{session}-{number}"
    facts: dict[str, Any] = {
        "moment_id": f"{event_id}:{kind}",
        "kind": kind,
        "visitor_id": visitor,
        "session_id": session,
        "event_id": event_id,
        "event_time": now_ms,
        "events": number,
        "score": 0.2,
        "band": "on_the_fence",
        "trend": 0.0,
        "cart_value": 50.0,
        "purchases": 0,
        "features": {"age": math.log1p(30.0)},
        "model_version": 7,
        "cold": False,
        "scored_at": now_ms,
        **said,
    }
    return Moment(**facts)


class MomentSink:
    """Sends moments, and closed sessions, to the partitions of their visitors."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap, acks="all", linger_ms=2)

    async def __aenter__(self) -> MomentSink:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def send(self, moments: Iterable[Moment], *, partition: int | None = None) -> None:
        """Send, each to its visitor's partition or all to one, and wait for all acknowledgements."""
        sent = [await self._send(topics.MOMENTS, each.visitor_id, encode(each), partition) for each in moments]
        for future in sent:
            await future

    async def close_session(self, visitor: str, session: str) -> None:
        """Tell that a session is over."""
        told = f'{{"visitor_id":"{visitor}","session_id":"{session}","events":3}}'
        await (await self._send(topics.CLOSED, visitor, told.encode()))

    async def raw(self, visitor: str, value: bytes) -> None:
        """Send what may be no moment."""
        await (await self._send(topics.MOMENTS, visitor, value))

    async def _send(self, topic: str, visitor: str, value: bytes, partition: int | None = None) -> Any:
        # By the key, as the events were: the client's own partitioner is the shop's.
        name = self._settings.topic(topic)
        return await self._producer.send(name, value, key=visitor.encode(), partition=partition)
