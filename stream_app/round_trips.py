"""The worker's clients with a clock beside them: how long Redis and Kafka take to answer, by what was asked.

Calls that fail are counted as errors where they are dealt with, and are not timed: a time-out says how patient we are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from stream_app.backends.kafka import KafkaPartitionLog
from stream_app.backends.ports import Committed
from stream_app.backends.redis import RedisView
from stream_app.core.effects import Effects, Position
from stream_app.observe import Observer


class TimedView(RedisView):
    """`RedisView`, timed."""

    def __init__(self, observer: Observer, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._answered = observer.redis_answered

    async def load(self, partition: int, visitors: Sequence[str]) -> tuple[Position | None, list[bytes | None]]:
        """See `ports.View`."""
        with _timed(self._answered, "load"):
            return await super().load(partition, visitors)

    async def open_visitors(self, partition: int) -> dict[str, int]:
        """See `ports.View`."""
        with _timed(self._answered, "deadlines"):
            return await super().open_visitors(partition)

    async def write(
        self,
        partition: int,
        *,
        expected_seq: int,
        position: Position,
        states: Mapping[str, bytes | None],
        deadlines: Mapping[str, int | None],
    ) -> Position | None:
        """See `ports.View`."""
        with _timed(self._answered, "write"):
            return await super().write(
                partition, expected_seq=expected_seq, position=position, states=states, deadlines=deadlines
            )

    async def clear(self, partition: int) -> None:
        """See `ports.View`."""
        with _timed(self._answered, "clear"):
            await super().clear(partition)


class TimedLog(KafkaPartitionLog):
    """`KafkaPartitionLog`, timed. Polls are not: they wait for visitors."""

    def __init__(self, observer: Observer, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._answered = observer.kafka_answered

    async def take_over(self) -> Committed:
        """See `ports.PartitionLog`."""
        with _timed(self._answered, "take_over"):
            return await super().take_over()

    async def publish(self, effects: Effects) -> int:
        """See `ports.PartitionLog`."""
        with _timed(self._answered, "publish"):
            return await super().publish(effects)

    async def commit(self, position: Position) -> None:
        """See `ports.PartitionLog`."""
        with _timed(self._answered, "commit"):
            await super().commit(position)


@contextmanager
def _timed(answered: Callable[[str, float], None], op: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    answered(op, time.perf_counter() - started)
