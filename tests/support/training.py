"""A trainer that runs in the test, with examples for it and a scorer that follows, on a Kafka that listens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec
from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry

from stream_app import topics
from stream_app.audit_reading import NotPossibleError
from stream_app.backends.clients import KafkaClients
from stream_app.core.records import Example
from stream_app.core.snapshots import SIGNATURE_HEADER, Signed, Snapshot
from stream_app.follower import ModelFollower
from stream_app.model_commands import read_models
from stream_app.observe import Observer
from stream_app.settings import Settings
from stream_app.trainer import Trainer


class RunningTrainer:
    """A `Trainer` in a task. Use as an async context manager; it is asked to stop at the end."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.registry = CollectorRegistry()
        self.trainer = Trainer(settings, Observer(self.registry))
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> RunningTrainer:
        self._task = asyncio.create_task(self.trainer.run())
        await until(lambda: self.trainer.state == "learning")
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._task is not None
        self.trainer.stop()
        await asyncio.wait_for(self._task, 20)

    async def learned(self, count: int) -> None:
        """Until so many examples have been read in all."""
        await until(lambda: sum(self.trainer.learner.offsets.values()) >= count)

    async def published(self) -> Snapshot:
        """The first snapshot that holds all that has been learned by now."""
        wanted = dict(self.trainer.learner.offsets)
        while True:
            try:
                found = await read_models(self.settings)
            except NotPossibleError:
                found = None
            if found is not None and dict(found.head.state["offsets"]) == wanted:
                return found
            await asyncio.sleep(0.1)

    def counted(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.registry.get_sample_value(name, labels) or 0.0


class RunningFollower:
    """A scorer's follower in a task."""

    def __init__(self, settings: Settings) -> None:
        self.follower = ModelFollower(settings, Observer(CollectorRegistry()), KafkaClients(settings))
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ModelFollower:
        self._task = asyncio.create_task(self.follower.run())
        await asyncio.wait_for(self.follower.caught_up.wait(), 15)
        return self.follower

    async def __aexit__(self, *error: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def until(condition: Callable[[], bool], patience_s: float = 30.0) -> None:
    """Wait for it, or fail."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def send_examples(settings: Settings, found: Sequence[Example], *, partition: int = 0) -> None:
    """Put them on the topic in order."""
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap) as producer:
        for example in found:
            await producer.send(settings.topic(topics.EXAMPLES), msgspec.json.encode(example), partition=partition)
        await producer.flush()


async def send_signed(settings: Settings, record: Signed, *, signature: bytes | None = b"") -> None:
    """Write a record to the snapshots as it is; another `signature` replaces its own, None leaves it out."""
    key, value, own = record
    shown = own if signature == b"" else signature
    headers = [] if shown is None else [(SIGNATURE_HEADER, shown)]
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap) as producer:
        await producer.send_and_wait(settings.topic(topics.SNAPSHOTS), value, key=key, headers=headers, partition=0)
