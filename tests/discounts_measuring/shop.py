"""A shop of few visitors, written to a real broker by hand: who was exposed, what was bought, and how late it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer, TopicPartition
from prometheus_client import CollectorRegistry

from stream_app import admin, topics
from stream_app.backends.clients import KafkaClients
from stream_app.core.codec import encode as encode_fact
from stream_app.core.events import CheckoutLabel, Event
from stream_app.discounts.beside import Beside
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.records import Exposure, Outcome, decode, encode
from stream_app.discounts.following import Following
from stream_app.discounts.measuring import Measuring
from stream_app.discounts.measuring_observer import MeasuringObserver
from stream_app.metrics import Metrics
from stream_app.settings import Settings, load
from tests.discounts.core.policies import policy
from tests.support.fixtures import Names

#: A replay of last year: nothing here depends on the wall clock.
T0: Final = 1_735_689_600_000
MINUTE: Final = 60_000
WINDOW, DELAY = 60 * MINUTE, 10 * MINUTE

PATIENCE_S: Final = 30.0


class Told:
    """Writes to the topics of one deployment, visitors to a partition by their last digit."""

    def __init__(self, bootstrap: str, names: Names, **flags: Any) -> None:
        self.settings: Settings = load(
            flags={
                "kafka_bootstrap": bootstrap,
                "topic_prefix": names.topic_prefix,
                "group_id": names.group_id,
                "topic_partitions": 2,
                "discount_window_ms": WINDOW,
                "discount_delay_ms": DELAY,
                **flags,
            }
        )
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
        self._numbers = 0

    async def __aenter__(self) -> Self:
        statuses = await admin.create_topics(self.settings)
        assert all(status.fine for status in statuses), statuses
        await self._producer.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._producer.stop()

    async def expose(self, *exposures: Exposure) -> None:
        """Who was exposed."""
        for exposure in exposures:
            await self._send(topics.EXPOSURES, exposure.visitor_id, encode(exposure))

    async def buy(self, visitor_id: str, *, at: int, price: float | None, key: str = "", **fields: Any) -> None:
        """A purchase event, or what else `event_type` says, at `at` minutes."""
        self._numbers += 1
        more = {"event_type": "purchase", "event_id": f"{visitor_id}-{self._numbers}", **fields}
        event = Event(event_time=T0 + at * MINUTE, visitor_id=visitor_id, price=price, **more)
        await self._send(topics.EVENTS, visitor_id, encode_fact(event), key=key)

    async def label(self, visitor_id: str, order_id: str, *, at: int, **fields: Any) -> None:
        """A checkout label."""
        label = CheckoutLabel(visitor_id=visitor_id, order_id=order_id, checkout_time=T0 + at * MINUTE, **fields)
        await self._send(topics.LABELS, visitor_id, encode_fact(label))

    async def pass_until(self, minute: int) -> None:
        """Others look around in every partition: time has come so far."""
        for visitor in range(10):
            name = f"passer-by-{visitor}"
            time = T0 + minute * MINUTE
            # Both ways in which an event may tell its time.
            written = datetime.fromtimestamp(time / 1000, UTC) if visitor % 2 else time
            event = Event(f"{name}-{minute}", "page_view", written, name)
            await self._send(topics.EVENTS, name, encode_fact(event))

    async def raw(self, topic: str, value: bytes) -> None:
        """Anything."""
        await self._producer.send_and_wait(self.settings.topic(topic), value, partition=0)

    async def outcomes(self) -> list[Outcome]:
        """What stands in the log, repeated ones included, by partition."""
        following = Following(self.settings, KafkaClients(self.settings), [topics.OUTCOMES])
        await following.start()
        try:
            found = []
            async for place, records in following.to_ends(topics.OUTCOMES):
                for record in records:
                    outcome = decode(Outcome, record.value)
                    assert isinstance(outcome, Outcome)
                    assert place.partition == _partition(outcome.exposure.visitor_id)
                    found.append(outcome)
            return found
        finally:
            await following.stop()

    async def forget(self, topic: str, before: dict[int, int]) -> None:
        """Delete a topic's records before offsets, as retention does."""
        client = KafkaClients(self.settings).admin()
        await client.start()
        try:
            full = self.settings.topic(topic)
            offsets = {TopicPartition(full, partition): offset for partition, offset in before.items()}
            await client.delete_records({place: _Before(offset) for place, offset in offsets.items()})
        finally:
            await client.close()

    async def _send(self, topic: str, visitor_id: str, value: bytes, *, key: str = "") -> None:
        await self._producer.send_and_wait(
            self.settings.topic(topic), value, key=(key or visitor_id).encode(), partition=_partition(visitor_id)
        )


class Measured:
    """A `Measuring` in this process, with its metrics."""

    def __init__(self, settings: Settings, *, rules: Callable[[], Policy] = policy, lag_s: float = 0.0) -> None:
        self.registry = CollectorRegistry()
        observer = MeasuringObserver(Metrics(self.registry, discounts=True))
        self.measuring = Measuring(settings, observer, policy=rules, lag_s=lag_s)

    def metric(self, name: str, **labels: str) -> float | None:
        """A sample's value."""
        return self.registry.get_sample_value(name, labels)

    async def until(self, what: str, holds: Callable[[Measuring], bool]) -> None:
        """Wait for it."""
        begun = time.monotonic()
        while not holds(self.measuring):
            assert time.monotonic() - begun < PATIENCE_S, f"{what}: {self.measuring.ready()}"
            await asyncio.sleep(0.05)

    async def until_settled(self, units: int, experiment: str = "autumn") -> None:
        """Wait until so many units are settled, of both arms."""

        def settled(measuring: Measuring) -> bool:
            found = measuring.figures.experiments.get(experiment)
            return found is not None and found.settled("treatment") + found.settled("holdout") >= units

        await self.until(f"{units} settled", settled)


@asynccontextmanager
async def measuring(settings: Settings, **options: Any) -> AsyncIterator[Measured]:
    """Runs until the end of the block, in a thread of its own as in the application."""
    measured = Measured(settings, **options)
    beside = Beside(measured.measuring)
    task = asyncio.create_task(beside.run())
    try:
        yield measured
        assert not task.done(), task
    finally:
        beside.stop()
        await asyncio.wait_for(task, PATIENCE_S)


class _Before:
    def __init__(self, offset: int) -> None:
        self.before_offset = offset


def _partition(visitor_id: str) -> int:
    return int(visitor_id[-1]) % 2
