"""A deployment of real processes for scenarios: workers and a trainer on given servers, and what they left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from producers.sink import KafkaSink
from stream_app import admin, topics
from stream_app.backends.child_process import free_port
from stream_app.backends.redis import connect_by, hash_tag
from stream_app.core import state
from stream_app.core.audit.states import without_model
from stream_app.core.effects import decode_position
from stream_app.core.events import Event
from stream_app.settings import Settings, load
from tests.faults.launcher import VARIABLE, Plan
from tests.scenarios.process import Process
from tests.support.fixtures import Names, Servers

#: In seconds: how long anything here may take before the test fails; the suite's own limit is above it.
PATIENCE_S: Final = 90.0


@dataclass
class Left:
    """What a run left in the topics and in Redis. Repeated outputs of one event are collapsed and counted."""

    #: event id → features record without nothing that depends on time or model
    features: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    #: (partition, kind, offset, n) → (event id, label, weight, features)
    examples: dict[tuple[int, ...], tuple[Any, ...]] = field(default_factory=dict)
    closed: Counter[str] = field(default_factory=Counter)
    dead_letters: list[dict[str, str]] = field(default_factory=list)
    repeated: int = 0
    #: (partition, visitor) → state without scores
    states: dict[tuple[int, str], Any] = field(default_factory=dict)


class Deployment:
    """Processes that are stopped by pid, whatever happens."""

    def __init__(self, servers: Servers, names: Names, **flags: Any) -> None:
        self.servers = servers
        self._flags: dict[str, Any] = {
            "kafka_bootstrap": servers.bootstrap,
            "redis_url": servers.redis_url,
            "topic_prefix": names.topic_prefix,
            "group_id": names.group_id,
            "session_timeout_ms": 6_000,
            # Sessions must end by the stream alone, or two runs would not be comparable.
            "idle_after_ms": 3_600_000,
            "check_crcs": servers.kind == "real",
            **flags,
        }
        self.settings: Settings = load(flags=self._flags)
        self.processes: list[Process] = []
        self._logs = Path(tempfile.mkdtemp(prefix=f"{names.group_id}-"))

    async def __aenter__(self) -> Self:
        statuses = await admin.create_topics(self.settings)
        assert all(status.fine for status in statuses), statuses
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self.processes:
            if process.exit_code is None:
                process.kill()
        if error is not None:
            for process in self.processes:
                sys.stderr.write(f"--- {process.name}, ended {process.exit_code}\n{process.said()[-4000:]}\n")
        shutil.rmtree(self._logs, ignore_errors=True)

    def start(self, verb: str, *, plan: Plan | None = None, **flags: Any) -> Process:
        """Run `stream-app <verb>`, with faults inside where there is a plan; `flags` are this process's own."""
        number = len(self.processes) + 1
        environment = {key: value for key, value in os.environ.items() if not key.startswith("STREAM_APP_")}
        for name, value in {**self._flags, **flags}.items():
            environment[f"STREAM_APP_{name}".upper()] = str(value)
        module = "stream_app"
        if plan is not None:
            module, environment[VARIABLE] = "tests.faults.launcher", msgspec.json.encode(plan).decode()
        port = free_port()
        process = Process(
            f"{verb} {number}",
            [sys.executable, "-m", module, verb, "--web-port", str(port)],
            environment,
            port=port,
            log=self._logs / f"{number}-{verb}.log",
        )
        self.processes.append(process)
        return process

    async def send(self, events: Iterable[Event]) -> None:
        """Produce events and wait for their acknowledgement."""
        settings = self.settings
        async with KafkaSink(settings.kafka_bootstrap, topic_prefix=settings.topic_prefix) as sink:
            for event in events:
                await sink.send_event(event)
            await sink.flush()

    def said(self) -> str:
        """The logs of all processes, one after the other."""
        return "".join(process.said() for process in self.processes)

    async def count(self, topic: str) -> int:
        """Records of a topic so far (end offsets)."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.kafka_bootstrap)
        await consumer.start()
        try:
            places = await self._places(consumer, topic)
            return sum((await consumer.end_offsets(places)).values())
        finally:
            await consumer.stop()

    async def until(self, topic: str, at_least: int) -> None:
        """Wait for a topic to have that many records."""
        deadline = time.monotonic() + PATIENCE_S
        found = -1
        while found < at_least:
            assert time.monotonic() < deadline, f"{topic}: got {found} records, expected {at_least}"
            dead = [process.name for process in self.processes if process.exit_code not in (None, 0, -9, -15)]
            assert not dead, f"ended by themselves: {dead}"
            await asyncio.sleep(0.1)
            found = await self.count(topic)

    async def until_all_scored(self, events: int) -> None:
        """Wait until the scores of that many different events are there."""
        deadline = time.monotonic() + PATIENCE_S
        await self.until(topics.SCORES, events)
        while True:
            distinct = {value["event_id"] for _, value, _ in await self.read(topics.SCORES)}
            if len(distinct) >= events:
                return
            assert time.monotonic() < deadline, f"got scores of {len(distinct)} events, expected {events}"
            await asyncio.sleep(0.5)

    async def until_caught_up(self, *, markers: int = 0) -> None:
        """Wait until the committed offsets are the end of the input, and Redis has all that was committed.

        `markers` are the offsets at the end of each partition that are no records: of a transactional producer.
        """
        deadline = time.monotonic() + PATIENCE_S
        client = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka_bootstrap)
        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.kafka_bootstrap)
        await client.start()
        await consumer.start()
        try:
            places = await self._places(consumer, topics.EVENTS)
            ends = {place: end - markers for place, end in (await consumer.end_offsets(places)).items()}
            while True:
                stored = await client.list_consumer_group_offsets(self.settings.group_id, partitions=places)
                committed = all(stored[place].offset >= ends[place] or not ends[place] for place in places)
                if committed and await self._view_follows(ends):
                    return
                assert time.monotonic() < deadline, f"got {stored}, expected {ends}"
                await asyncio.sleep(0.1)
        finally:
            await consumer.stop()
            await client.close()

    async def _view_follows(self, ends: dict[TopicPartition, int]) -> bool:
        """Whether Redis has what was committed: with `exactly_once` it is written afterwards."""
        settings = self.settings
        prefix = f"{settings.topic_prefix}{settings.group_id}"
        async with connect_by(settings) as client:
            for place, end in ends.items():
                position = decode_position(await client.get(f"{hash_tag(prefix, place.partition)}:position"))
                if end and (position is None or position.events_offset < end):
                    return False
        return True

    async def read(self, topic: str) -> list[tuple[int, Any, dict[str, str]]]:
        """Every record of a topic as (partition, value from JSON, headers), in offset order per partition."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            check_crcs=self.settings.check_crcs,
        )
        await consumer.start()
        try:
            places = await self._places(consumer, topic)
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            ends = await consumer.end_offsets(places)
            found: list[tuple[int, Any, dict[str, str]]] = []
            while any([await consumer.position(place) < ends[place] for place in places]):
                for place, records in (await consumer.getmany(timeout_ms=200)).items():
                    for record in records:
                        headers = {name: value.decode() for name, value in record.headers}
                        value: Any = record.value
                        if topic != topics.DEAD_LETTERS:
                            value = msgspec.json.decode(record.value or b"null")
                        found.append((place.partition, value, headers))
            return found
        finally:
            await consumer.stop()

    async def left(self) -> Left:
        """Everything the run has left."""
        result = Left()
        for _, record, _ in await self.read(topics.FEATURES):
            known = result.features.setdefault(record["event_id"], record)
            assert known == record, "an output that repeats must be the same"
        for _, record, _ in await self.read(topics.SCORES):
            result.repeated += record["event_id"] in result.scores
            result.scores[record["event_id"]] = record
        for partition, record, _ in await self.read(topics.EXAMPLES):
            place = (partition, *record["position"])
            told = (record["event_id"], record["label"], record["weight"], record["features"])
            assert result.examples.setdefault(place, told) == told, "an example that repeats must be the same"
        for _, record, _ in await self.read(topics.CLOSED):
            result.closed[record["session_id"]] = 1
        for _, _, headers in await self.read(topics.DEAD_LETTERS):
            result.dead_letters.append(headers)
        result.states = await self.states()
        return result

    async def states(self) -> dict[tuple[int, str], Any]:
        """The states in Redis without what depends on the model at the time."""
        settings = self.settings
        found: dict[tuple[int, str], Any] = {}
        client = connect_by(settings)
        try:
            for partition in range(settings.topic_partitions):
                tag = f"{hash_tag(f'{settings.topic_prefix}{settings.group_id}', partition)}:v:"
                async for key in client.scan_iter(match=f"{tag}*", count=1000):
                    # Which model was served is chance, in what waits and in what was told.
                    visitor = state.decode(without_model(state.decode(await client.get(key))))
                    visitor.last_score = None
                    found[partition, key.decode().removeprefix(tag)] = msgspec.to_builtins(visitor)
        finally:
            await client.aclose()
        return found

    async def _places(self, consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
        name = self.settings.topic(topic)
        await consumer._client.force_metadata_update()
        metadata = await consumer._client.fetch_all_metadata()
        return [TopicPartition(name, partition) for partition in sorted(metadata.partitions_for_topic(name) or ())]
