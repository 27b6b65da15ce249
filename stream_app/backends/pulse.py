"""Whether Kafka is there: while a broker is away the client's polls do not fail, they come empty."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app.backends.ports import LogError
from stream_app.observe import KafkaOp, Observer

#: How often Kafka is asked, and how long an answer may take: readiness must tell within seconds.
PULSE_S: Final = 2.0
PULSE_TIMEOUT_S: Final = 2.0


class KafkaPulse:
    """Whether Kafka answers, asked every few seconds."""

    def __init__(self, observer: Observer, op: KafkaOp) -> None:
        self._observer = observer
        self._op = op
        self._next = 0.0
        self._silent_since: float | None = None

    async def check(self, consumer: AIOKafkaConsumer, places: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Ask for the ends of these, if it is time to, within `PULSE_TIMEOUT_S`; empty if there was no answer."""
        now = time.monotonic()
        if now < self._next:
            return {}
        self._next = now + PULSE_S
        # In a task of its own, for the reason given at `clients.stop_quietly`.
        asking = asyncio.ensure_future(consumer.end_offsets(list(places)))
        _, unfinished = await asyncio.wait({asking}, timeout=PULSE_TIMEOUT_S)
        if unfinished:
            asking.cancel()
        answer: Any = (await asyncio.gather(asking, return_exceptions=True))[0]
        if isinstance(answer, BaseException):
            self.missed(answer)
            return {}
        self._observer.kafka_answered("pulse", time.monotonic() - now)
        if self._silent_since is not None:
            self._observer.back("kafka", now - self._silent_since)
            self._silent_since = None
        return dict(answer)

    def missed(self, error: BaseException) -> None:
        """Kafka did not answer."""
        silent = LogError(f"Kafka does not answer: {error!r}")
        self._observer.kafka_error(self._op, silent, again=self._silent_since is not None)
        if self._silent_since is None:
            self._silent_since = time.monotonic()

    @property
    def problem(self) -> str:
        """What readiness has to say; empty while Kafka answers."""
        if self._silent_since is None:
            return ""
        return f"Kafka has not answered for {time.monotonic() - self._silent_since:.0f} s"
