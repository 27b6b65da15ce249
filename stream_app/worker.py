"""The worker: joins the group, and runs a `Partition` for each partition it is given.

aiokafka swallows what a rebalance listener raises and sends no heartbeats while it runs, so the listener only starts
and stops partitions; what may be scored is decided by each partition's own state. Events and labels are assigned
together: the range assignor gives equal partitions of equally many to the same member.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from stream_app import admin, topics
from stream_app.backends.changelog_reading import ChangelogReading
from stream_app.backends.clients import (
    KafkaClients,
    ended,
    heartbeat_ms,
    kafka_call,
    leaving,
    start_client,
    stop_quietly,
)
from stream_app.backends.group_commits import GroupCommits
from stream_app.backends.kafka import KafkaPartitionLog
from stream_app.backends.ports import LogError, UnusableError, ViewError
from stream_app.backends.pulse import KafkaPulse
from stream_app.backends.redis import RedisView, connect_by
from stream_app.backends.writers import AtLeastOnceWriter, ExactlyOnceWriter, PartitionWriter, SharedProducer
from stream_app.core.effects import Effects
from stream_app.core.processor import PartitionProcessor, Rules
from stream_app.follower import ModelFollower
from stream_app.observe import Observer
from stream_app.owned_partitions import OwnedPartitions
from stream_app.partition import Partition
from stream_app.patience import STUCK_S, WAITING_S
from stream_app.round_trips import TimedLog, TimedView
from stream_app.settings import Settings
from stream_app.together import Together
from stream_app.tracing import Tracing

#: How long a fetch waits for new records: an idle shop's event is not held back.
_FETCH_WAIT_MS: Final = 100


def rules_of(settings: Settings) -> Rules:
    """The settings that the core obeys."""
    return Rules(
        gap_ms=settings.session_gap_ms,
        grace_ms=settings.grace_ms,
        history_ttl_ms=settings.history_ttl_ms,
        late_label_ms=settings.late_label_ms,
        quiet_ms=settings.quiet_ms,
        trend_turn=settings.trend_turn,
        reservoir_size=settings.reservoir_size,
        cache_visitors_max=settings.cache_visitors_max,
        band_fence_min=settings.band_fence_min,
        band_likely_min=settings.band_likely_min,
        reasons=settings.reasons,
        engine=settings.engine,
    )


class Worker(ConsumerRebalanceListener):
    """Scores the partitions that the group gives it, until stopped.

    Raises ImportError if it is to trace without the packages for it.
    """

    def __init__(self, settings: Settings, observer: Observer, *, tracing: Tracing | None = None) -> None:
        self._settings = settings
        self._observer = observer
        self._stopping = asyncio.Event()
        self._listeners: list[Callable[[Effects, int], None]] = []
        # The group gives nothing to another before a session time-out, but to one of the same name at once.
        self._lease_s = 0.0 if settings.worker_id else settings.session_timeout_ms / 2000
        self._owned = OwnedPartitions[Partition](session_timeout_ms=settings.session_timeout_ms, may_end=True)
        self._logs: dict[int, KafkaPartitionLog] = {}
        self._clients = KafkaClients(settings)
        self.follower = ModelFollower(settings, observer, self._clients)
        self._consumer: AIOKafkaConsumer | None = None
        self._commits: GroupCommits | None = None
        self._admin: AIOKafkaAdminClient | None = None
        self._reading = ChangelogReading(self._clients)
        self._producer = SharedProducer(self._clients, client_id=f"{settings.group_id}-worker")
        self._view: RedisView | None = None
        self._restoring, self._together = asyncio.Semaphore(1), Together()
        self._tracing = tracing or (Tracing() if settings.tracing else None)
        #: whether Redis has said that it evicts nothing
        self._keeps_states = False
        self._pulse = KafkaPulse(observer, "worker")
        #: partitions assigned without their twin: nothing of theirs may be scored
        self._alone: set[int] = set()
        self._counts: tuple[int, list[str]] = (0, [])

    @property
    def partitions(self) -> Mapping[int, Partition]:
        """Those that this process owns, by number."""
        return self._owned.by_number

    def listen(self, callback: Callable[[Effects, int], None]) -> None:
        """Call back with the effects and the partition after every batch."""
        self._listeners.append(callback)

    def stop(self) -> None:
        """Finish the batches in flight and give the partitions back."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped.

        Raises
        ------
        UnusableError
            If the topics do not fit.
        LogError
            If Kafka cannot be reached at the start.
        """
        following = asyncio.create_task(self.follower.run(), name="model-follower")
        try:
            await self._start()
            await self._until_stopped(following)
        finally:
            self._stopping.set()
            others = len(self.partitions) < self._counts[0]
            await self._give_back(list(self.partitions))
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await self._close(others=others)

    def ready(self) -> tuple[bool, str]:
        """Assigned, restored, caught up once, and making progress or idle at the end of the log."""
        if joining := self._owned.joining():
            return False, joining
        if not self.follower.caught_up.is_set():
            return False, "reading the model"
        if self._pulse.problem:
            return False, self._pulse.problem
        if self._alone:
            return False, f"partitions {sorted(self._alone)} came without their twin of the other input topic"
        for number, partition in sorted(self.partitions.items()):
            waiting = partition.behind.waiting_since
            if waiting is not None and time.monotonic() - waiting > WAITING_S:
                return False, f"partition {number} has waited {time.monotonic() - waiting:.0f} s for Redis"
        if unready := self._owned.unready():
            return False, unready
        for number, partition in sorted(self.partitions.items()):
            if not partition.caught_up:
                return False, f"partition {number} is catching up, {partition.log.lag()} records behind"
        return True, f"scoring {len(self.partitions)} partitions"

    def alive(self) -> tuple[bool, str]:
        """Neither a partition nor the way into the group has been stuck for so long that only a restart is left."""
        return self._owned.alive()

    # ---- the group --------------------------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Finish what is in flight before the partition goes to another."""
        self._alone.clear()
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
        for number in sorted({place.partition for place in assigned}):
            if {place.topic for place in assigned if place.partition == number} != self._topics():
                self._alone.add(number)
                self._observer.kafka_error(
                    "assignment", LogError(f"partition {number} was assigned without its twin: {sorted(assigned)}")
                )
                continue
            self._take(number)
        self._owned.joined = True

    def _topics(self) -> set[str]:
        return {self._settings.topic(topics.EVENTS), self._settings.topic(topics.LABELS)}

    def _take(self, number: int) -> None:
        assert self._consumer is not None
        assert self._admin is not None
        assert self._view is not None
        partitions, topic_ids = self._counts
        log = TimedLog(
            self._observer,
            self._settings,
            number,
            reading=self._reading,
            consumer=self._consumer,
            admin=self._admin,
            writer=self._writer(number),
            partitions=partitions,
            topic_ids=topic_ids,
        )
        partition = Partition(
            number,
            log=log,
            view=self._view,
            processor=PartitionProcessor(rules_of(self._settings), partition=number, partitions=partitions),
            scorer=lambda: self.follower.model,
            model_in_use=self.follower.in_use,
            observer=self._observer,
            records_max=self._settings.batch_records_max,
            idle_after_ms=self._settings.idle_after_ms,
            # A worker that has lost its partitions while it slept hears so at its next heartbeat.
            fenced_pause_s=2 * heartbeat_ms(self._settings) / 1000,
            lease_s=self._lease_s,
            hand_over_s=self._owned.hand_over_s,
            restoring=self._restoring,
            together=self._together,
            tracing=self._tracing,
            listener=self._told,
        )
        self._logs[number] = log
        self._observer.own(number, partition)
        self._owned.start(number, partition, name="partition")

    def _writer(self, number: int) -> PartitionWriter:
        assert self._commits is not None
        if self._settings.processing_guarantee == "exactly_once":
            return ExactlyOnceWriter(self._settings, number, clients=self._clients)
        return AtLeastOnceWriter(self._settings, number, commits=self._commits, producer=self._producer)

    def _told(self, effects: Effects, partition: int) -> None:
        for listener in self._listeners:
            listener(effects, partition)

    async def _give_back(self, numbers: list[int]) -> None:
        for number in numbers:
            self._logs.pop(number, None)
        for error in await self._owned.give_back(numbers):
            self._observer.kafka_error("hand-over", error)

    # ---- life -------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        settings = self._settings
        try:
            facts = await admin.topic_facts(settings)
        except ConnectionError as error:
            raise LogError(str(error)) from error
        events, labels, changelog = (
            facts[settings.topic(name)] for name in (topics.EVENTS, topics.LABELS, topics.CHANGELOG)
        )
        if not events.exists or not events.partitions == labels.partitions == changelog.partitions:
            raise UnusableError(
                f"got {events.partitions} partitions of {events.name}, {labels.partitions} of {labels.name} and "
                f"{changelog.partitions} of {changelog.name}, expected the same count of all: run `stream-app topics "
                "check`"
            )
        self._counts = (events.partitions, [topic.topic_id or "" for topic in (events, labels, changelog)])
        self._view = TimedView(
            self._observer,
            connect_by(settings),
            prefix=settings.namespace,
            ttl_ms=settings.history_ttl_ms + settings.session_gap_ms,
        )
        # Scores before the model is known would be cold ones for no reason.
        waiting = [asyncio.create_task(event.wait()) for event in (self.follower.caught_up, self._stopping)]
        await asyncio.wait(waiting, timeout=STUCK_S, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        # Kafka has answered once, so its address is right: when it is away now, that is waited out.
        while not self._stopping.is_set() and not await self._joins():
            self._owned.excuse_waiting()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), 1.0)

    async def _joins(self) -> bool:
        """One attempt to connect and to enter the group; False, and nothing left open, if Kafka does not answer."""
        asking = self._clients.admin()
        try:
            await kafka_call("connecting", asking.start())
            consumer = self._clients.member(
                self._settings.group_id, client_id=f"{self._settings.group_id}-worker", fetch_wait_ms=_FETCH_WAIT_MS
            )
            consumer.subscribe(sorted(self._topics()), listener=self)
            # Before it starts: partitions may be given to us while it does.
            self._admin, self._consumer, self._commits = asking, consumer, GroupCommits(consumer)
            await self._reading.start()
            await start_client("joining the group", consumer)
        except LogError as error:
            self._observer.kafka_error("worker", error)
            self._admin = self._consumer = self._commits = None
            await asking.close()
            return False
        return True

    async def _until_stopped(self, following: asyncio.Task[None]) -> None:
        """Watch over the parts: one that ends by itself is a crash."""
        while not self._stopping.is_set():
            assert self._consumer is not None
            if following.done():
                following.result()
                raise RuntimeError("the model follower ended by itself")
            self._owned.check()
            if reason := ended(self._consumer):
                raise RuntimeError(f"the Kafka client's {reason}")
            places = self._consumer.assignment() or {TopicPartition(self._settings.topic(topics.EVENTS), 0)}
            for place, end in (await self._pulse.check(self._consumer, places)).items():
                if (log := self._logs.get(place.partition)) is not None:
                    log.told_end(place, end)
            if self._pulse.problem:
                self._owned.excuse_waiting()  # an outage is waited out
            await self._owned.stay_in_the_group(
                self._consumer, lambda error: self._observer.kafka_error("group", error)
            )
            await self._refuse_eviction()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), 1.0)

    async def _refuse_eviction(self) -> None:
        """Once, as soon as Redis answers; one that is away is waited for by each partition."""
        if self._keeps_states or self._view is None:
            return
        with contextlib.suppress(ViewError):
            await self._view.refuse_eviction()
            self._keeps_states = True

    async def _close(self, *, others: bool) -> None:
        """`others` have partitions as well, and may have ours. Alone we leave them to ourselves, started again."""
        await self._owned.closed()
        if self._consumer is not None:
            if others:
                leaving(self._consumer)
            await stop_quietly(self._consumer)
        await self._producer.close()
        await self._reading.close()
        if self._admin is not None:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(self._admin.close(), 5.0)
        if self._view is not None:
            await self._view.close()
