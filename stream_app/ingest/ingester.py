"""The process: joins the raw topic's group, and runs a `RawPartition` for each partition that it is given.

As in `worker.py`: aiokafka swallows what a rebalance listener raises and sends no heartbeats while it runs, so the
listener only starts and stops partitions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from producers.door import Door
from producers.formats import Format
from producers.sink import partition_of
from stream_app.backends.clients import KafkaClients, ended, heartbeat_ms, kafka_call, start_client, stop_quietly
from stream_app.backends.group_commits import GroupCommits
from stream_app.backends.ports import LogError
from stream_app.backends.pulse import KafkaPulse
from stream_app.ingest.alignment import Alignment
from stream_app.ingest.first_records import told_format
from stream_app.ingest.observe import IngestObserver
from stream_app.ingest.partition import BatchReader, RawPartition, Shared
from stream_app.ingest.raw_log import RawLog
from stream_app.ingest.target import Target, find_target
from stream_app.owned_partitions import OwnedPartitions
from stream_app.settings import Settings

#: How long a fetch waits for new records, in ms: an idle shop's event is not held back.
_FETCH_WAIT_MS: Final = 100
#: Between two attempts to reach a Kafka that is away, and between two looks at the parts, in seconds.
_LOOK_S: Final = 1.0
#: Visitors whose partition is remembered; hashing one anew costs about 3 µs.
_VISITORS_CACHED: Final = 65_536


def group_of(settings: Settings, topic: str) -> str:
    """The consumer group that takes a raw topic in; also how its transactional ids begin."""
    return f"{settings.namespace}-ingest-{topic}"


class Ingester(ConsumerRebalanceListener):
    """Takes the topic in until stopped.

    `told` is the format of its records, and how that is known; None lets the records tell it. `reader` gives each
    batch its format, where that takes more.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        told: tuple[Format, str] | None,
        door: Door,
        observer: IngestObserver,
        reader: BatchReader | None = None,
    ) -> None:
        self._settings, self._topic, self._told, self._observer = settings, topic, told, observer
        self._door, self._reader = door, reader
        self._group_id = group_of(settings, topic)
        self._clients = KafkaClients(settings)
        self._stopping = asyncio.Event()
        self._alignment = Alignment(slack_ms=settings.grace_ms // 2)
        self._pulse = KafkaPulse(observer, "ingest")
        self._owned = OwnedPartitions[RawPartition](session_timeout_ms=settings.session_timeout_ms, may_end=True)
        self._consumer: AIOKafkaConsumer | None = None
        self._commits: GroupCommits | None = None
        self._admin: AIOKafkaAdminClient | None = None
        self._target = Target(0, 0, False)
        self._shared: Shared | None = None
        #: why it has not asked to join yet
        self._waiting_for = "connecting"

    @property
    def partitions(self) -> Mapping[int, RawPartition]:
        """Those that this process owns, by number."""
        return self._owned.by_number

    def stop(self) -> None:
        """Finish the batches that are being written and give the partitions back."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped.

        Raises
        ------
        UnusableError
            If a topic is not there, or what the raw one has is of no known format.
        RuntimeError
            If a part has ended by itself: only a restart is left.
        """
        try:
            await self._start()
            await self._until_stopped()
        finally:
            self._stopping.set()
            await self._give_back(list(self.partitions))
            await self._close()

    def ready(self) -> tuple[bool, str]:
        """In the group, every partition taken over and caught up once, Kafka answers."""
        if self._waiting_for:
            return False, self._waiting_for
        if joining := self._owned.joining():
            return False, joining
        if self._pulse.problem:
            return False, self._pulse.problem
        if unready := self._owned.unready():
            return False, unready
        for number, partition in sorted(self.partitions.items()):
            if not partition.caught_up:
                return False, f"partition {number} is catching up, {partition.lag()} records behind"
        return True, f"taking in {len(self.partitions)} partitions"

    def alive(self) -> tuple[bool, str]:
        """Neither a partition nor the way into the group has been stuck for so long that only a restart is left."""
        return (True, self._waiting_for) if self._waiting_for else self._owned.alive()

    # ---- the group --------------------------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Finish what is being written before the partition goes to another."""
        self._owned.left()
        await self._give_back(sorted({place.partition for place in revoked}))
        if self._commits is not None:
            await self._commits.drop()

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Pause, and begin to take over in the background: no heartbeat is sent while this runs."""
        assert self._consumer is not None
        self._consumer.pause(*assigned)
        if self._stopping.is_set():
            return  # nobody would stop what was begun now
        for place in sorted(assigned):
            self._take(place)
        self._owned.joined = True

    def _take(self, place: TopicPartition) -> None:
        assert self._consumer is not None
        assert self._admin is not None
        assert self._commits is not None
        assert self._shared is not None
        log = RawLog(
            self._settings,
            place,
            group_id=self._group_id,
            clients=self._clients,
            consumer=self._consumer,
            admin=self._admin,
            commits=self._commits,
            target=self._target,
        )
        partition = RawPartition(place.partition, log, self._shared)
        self._observer.watch(place.partition, partition)
        self._owned.start(place.partition, partition, name="raw-partition")

    async def _give_back(self, numbers: Sequence[int]) -> None:
        for error in await self._owned.give_back(numbers):
            self._observer.kafka_error("ingest", error)

    # ---- life -------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._prepare()
                break
            except LogError as error:
                self._observer.kafka_error("ingest", error)
                self._waiting_for = f"Kafka does not answer: {error}"
                await self._pause()
        while not self._stopping.is_set() and not await self._joins():
            self._owned.excuse_waiting()
            await self._pause()

    async def _prepare(self) -> None:
        """Look where to write, and find out the format."""
        settings = self._settings
        self._target = await find_target(settings, self._topic, self._clients)
        partitions = self._target.events_partitions
        told = self._told or await told_format(
            self._clients, self._topic, waiting=self._waits_for, stopped=self._stopping.is_set
        )
        if told is None:
            return
        format, why = told
        self._observer.format_told(self._topic, format.name, why)
        self._shared = Shared(
            format=format,
            door=self._door,
            alignment=self._alignment,
            observer=self._observer,
            partition_of=lru_cache(_VISITORS_CACHED)(lambda key: partition_of(key, partitions)),
            records_max=settings.batch_records_max,
            fenced_pause_s=2 * heartbeat_ms(settings) / 1000,
            reader=self._reader,
        )

    def _waits_for(self, what: str) -> None:
        self._waiting_for = what

    async def _joins(self) -> bool:
        """One attempt to enter the group; False, and nothing left open, if Kafka does not answer."""
        asking = self._clients.admin()
        try:
            await kafka_call("connecting", asking.start())
            consumer = self._clients.member(self._group_id, client_id=self._group_id, fetch_wait_ms=_FETCH_WAIT_MS)
            consumer.subscribe([self._topic], listener=self)
            # Before it starts: partitions may be given to us while it does.
            self._admin, self._consumer, self._commits = asking, consumer, GroupCommits(consumer)
            self._waiting_for = ""
            self._owned.excuse_waiting()
            await start_client("joining the group", consumer)
        except LogError as error:
            self._observer.kafka_error("ingest", error)
            self._admin = self._consumer = self._commits = None
            await asking.close()
            return False
        return True

    async def _until_stopped(self) -> None:
        """Watch over the parts: one that ends by itself is a crash."""
        while not self._stopping.is_set():
            assert self._consumer is not None
            self._owned.check()
            if reason := ended(self._consumer):
                raise RuntimeError(f"the Kafka client's {reason}")
            places = self._consumer.assignment() or {TopicPartition(self._topic, 0)}
            for place, end in (await self._pulse.check(self._consumer, places)).items():
                if (partition := self.partitions.get(place.partition)) is not None:
                    partition.log.told_end(end)
            if self._pulse.problem:
                self._owned.excuse_waiting()  # an outage is waited out
            await self._owned.stay_in_the_group(
                self._consumer, lambda error: self._observer.kafka_error("ingest", error)
            )
            self._observer.tell()
            await self._pause()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), _LOOK_S)

    async def _close(self) -> None:
        await self._owned.closed()
        if self._reader is not None:
            await self._reader.close()
        if self._consumer is not None:
            await stop_quietly(self._consumer)
        if self._admin is not None:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(self._admin.close(), 5.0)
