"""aiokafka's consumer on the simulated broker, with and without a group.

From aiokafka's source: the listener is called in the coordination task, revoked before the member joins again and
assigned after; what it raises is swallowed; no heartbeat is sent while it joins or while the listener runs; a member
that the group does not know any more learns it from its next heartbeat or commit; a commit is tried again for ever
while the broker is away, each time under the generation of the moment; `getmany` waits out a rebalance. Left out: a
member that is never polled leaves its group (`max_poll_interval_ms`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Final

from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    RequestTimedOutError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from tests.simulation.broker import Broker
from tests.simulation.groups import Joined
from tests.simulation.log import FetchedRecord

#: Between two attempts, in seconds: aiokafka's default.
_BACKOFF_S: Final = 0.1

_CONNECTION: Final = (KafkaConnectionError, RequestTimedOutError)


class _Place:
    """Where a consumer stands in one partition."""

    __slots__ = ("highwater", "paused", "position")

    def __init__(self) -> None:
        self.position: int | None = None
        self.highwater: int | None = None
        self.paused = False

    @property
    def has_valid_position(self) -> bool:
        return self.position is not None


class SimulatedConsumer:
    """A reader, or with `group_id` a member. `patience` stretches its waits, as a busy machine would."""

    def __init__(
        self,
        broker: Broker,
        *,
        group_id: str | None = None,
        instance: str | None = None,
        session_timeout_s: float = 10.0,
        heartbeat_s: float = 3.0,
        request_timeout_s: float,
        patience: float = 1.0,
        committed_only: bool = True,
    ) -> None:
        self._committed_only = committed_only
        self._broker = broker
        self._timeout_s = request_timeout_s
        self._group_id, self._instance = group_id, instance
        self._session_s, self._heartbeat_s = session_timeout_s, heartbeat_s
        self._patience = patience
        self._places: dict[TopicPartition, _Place] = {}
        self._topics: list[str] = []
        self._listener: Any = None
        self._closed = False
        # membership
        self._member_id, self._generation = "", -1
        self._assigned = asyncio.Event()
        self._rejoin = asyncio.Event()
        self._closing = asyncio.Event()
        self._coordination: asyncio.Task[None] | None = None
        self._heartbeat: asyncio.Task[None] | None = None
        self._commit_lock = asyncio.Lock()
        self._commits = 0
        #: what our code touches of the client's insides
        self._client = SimpleNamespace(fetch_all_metadata=self._metadata)

    # ---- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect; a member also joins, and waits for its first assignment."""
        await self._broker.network.call("connect", lambda: None, timeout_s=self._timeout_s)
        if self._group_id is not None and self._topics:
            self._coordination = asyncio.create_task(self._coordinate())
            await self._assigned.wait()

    async def stop(self) -> None:
        """Leave, unless the membership is static."""
        if self._closed:
            return
        self._closed = True
        self._closing.set()
        self._rejoin.set()
        if self._coordination is not None:
            await asyncio.shield(self._coordination)
        await self._stop_heartbeat()
        if self._group_id is not None and self._generation > 0 and self._instance is None:
            group, member_id = self._broker.group(self._group_id), self._member_id
            with contextlib.suppress(KafkaError):
                await self._broker.network.call(
                    f"leave {self._group_id}", lambda: group.leave(member_id), timeout_s=self._timeout_s
                )

    # ---- what is read -----------------------------------------------------------------------------------------------

    def subscribe(self, topics: list[str], listener: Any = None) -> None:
        """Join for these topics when started."""
        self._topics, self._listener = list(topics), listener

    def assign(self, places: list[TopicPartition]) -> None:
        """Read these, from their first record unless sought elsewhere."""
        self._places = {place: _Place() for place in places}
        for place in self._places.values():
            place.position = 0
        self._assigned.set()

    def assignment(self) -> frozenset[TopicPartition]:
        """What is assigned now."""
        return frozenset(self._places)

    def pause(self, *places: TopicPartition) -> None:
        """Hand nothing out of these."""
        for place in places:
            self._place(place).paused = True

    def resume(self, *places: TopicPartition) -> None:
        """Go on with these."""
        for place in places:
            self._place(place).paused = False

    def paused(self) -> frozenset[TopicPartition]:
        """What is paused."""
        return frozenset(name for name, place in self._places.items() if place.paused)

    def seek(self, place: TopicPartition, offset: int) -> None:
        """Read on from here."""
        self._place(place).position = offset

    async def position(self, place: TopicPartition) -> int:
        """The next offset to hand out."""
        position = self._place(place).position
        if position is None:
            raise NoOffsetForPartitionError(str(place))
        return position

    def highwater(self, place: TopicPartition) -> int | None:
        """The partition's end as the last fetch saw it."""
        assert place in self._places, "Partition is not assigned"
        return self._places[place].highwater

    def last_stable_offset(self, place: TopicPartition) -> int | None:
        """Where committed records ended as the last fetch saw it: the simulated broker tells one end."""
        return self.highwater(place)

    @property
    def _subscription(self) -> Any:
        assignment = SimpleNamespace(state_value=self._places.get)
        return SimpleNamespace(subscription=SimpleNamespace(assignment=assignment if self._places else None))

    async def getmany(
        self, *places: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[FetchedRecord]]:
        """New records; waits for some, at most the time given."""
        if self._closed:
            raise ConsumerStoppedError
        network, loop = self._broker.network, asyncio.get_running_loop()
        if network.dangerous:
            await network.hazard("fetch")
        if not self._assigned.is_set():
            await self._assigned.wait()
        deadline = loop.time() + timeout_ms / 1000 * self._patience
        while True:
            found = self._collect(places or tuple(self._places), max_records or 1_000_000)
            if found:
                await asyncio.sleep(network.latency())
                return found
            left = deadline - loop.time()
            if left <= 0 or self._closed:
                return found
            await self._wait(places or tuple(self._places), left)
            if not self._assigned.is_set():
                await self._assigned.wait()

    async def _wait(self, places: tuple[TopicPartition, ...], seconds: float) -> None:
        """Until something can be read, at most so long; then the time that a fetch takes."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _done, waiter)
        logs = [self._broker.log(place) for place in places if place in self._places and not self._places[place].paused]
        for log in logs:
            log.tell(waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            for log in logs:
                log.forget(waiter)
        if loop.time() < timer.when():
            await asyncio.sleep(self._broker.network.latency())
            if self._broker.network.down:
                await asyncio.sleep(max(0.0, timer.when() - loop.time()))

    def _collect(self, places: tuple[TopicPartition, ...], limit: int) -> dict[TopicPartition, list[FetchedRecord]]:
        found: dict[TopicPartition, list[FetchedRecord]] = {}
        if self._broker.network.down:
            return found
        for name in sorted(places):
            place = self._places.get(name)
            if place is None or place.paused or limit <= 0:
                continue
            if place.position is None:
                raise NoOffsetForPartitionError(str(name))
            log = self._broker.log(name)
            if place.position > log.end:
                raise OffsetOutOfRangeError({name: place.position})
            records, place.position = log.read(place.position, limit)
            place.highwater = log.end
            if records:
                found[name] = records
                limit -= len(records)
        return found

    async def beginning_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        """The first kept offsets: nothing is deleted here."""
        return await self._offsets("first offsets", lambda: dict.fromkeys(places, 0))

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Up to where committed records are known: the last stable offsets; else the last of all."""
        log = self._broker.log
        if self._committed_only:
            return await self._offsets("end offsets", lambda: {place: log(place).stable_end for place in places})
        return await self._offsets("end offsets", lambda: {place: log(place).end for place in places})

    async def _offsets(self, what: str, carry_out: Any) -> dict[TopicPartition, int]:
        while True:
            try:
                found: dict[TopicPartition, int] = await self._broker.network.call(
                    what, carry_out, timeout_s=self._timeout_s
                )
            except _CONNECTION:
                await asyncio.sleep(_BACKOFF_S)
            else:
                return found

    async def _metadata(self) -> Any:
        topics = self._broker.topics
        return await self._broker.network.call(
            "metadata",
            lambda: SimpleNamespace(partitions_for_topic=lambda name: set(range(topics.get(name, 0)))),
            timeout_s=self._timeout_s,
        )

    def _place(self, name: TopicPartition) -> _Place:
        place = self._places.get(name)
        if place is None:
            raise IllegalStateError(f"No current assignment for partition {name}")
        return place

    # ---- the group --------------------------------------------------------------------------------------------------

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """As a member of the group's present generation, or CommitFailedError."""
        for place in offsets:
            if place not in self._places:
                raise IllegalStateError(f"Partition {place} is not assigned")
        self._commits += 1
        number = self._commits
        while True:
            try:
                async with self._commit_lock:
                    await asyncio.shield(self._commit_once(dict(offsets), number))
            except (UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError) as error:
                raise CommitFailedError("the group has already rebalanced") from error
            except _CONNECTION:
                await asyncio.sleep(_BACKOFF_S)
            else:
                return

    async def _commit_once(self, offsets: dict[TopicPartition, OffsetAndMetadata], number: int) -> None:
        assert self._group_id is not None
        group, member_id, generation = self._broker.group(self._group_id), self._member_id, self._generation
        try:
            await self._broker.network.call(
                f"commit to {self._group_id}",
                lambda: group.commit(member_id, generation, offsets, number),
                timeout_s=self._timeout_s,
            )
        except RebalanceInProgressError:
            self._rejoin.set()
            raise
        except (UnknownMemberIdError, IllegalGenerationError):
            self._reset()
            raise

    def _reset(self) -> None:
        self._member_id, self._generation = "", -1
        self._rejoin.set()

    async def _coordinate(self) -> None:
        revoked: set[TopicPartition] = set()
        while not self._closing.is_set():
            # Nothing is handed out until the next assignment.
            self._assigned.clear()
            await self._tell("revoked", revoked)
            await self._stop_heartbeat()
            joined = await self._join()
            if joined is None:
                break
            self._member_id, self._generation = joined.member_id, joined.generation
            self._rejoin.clear()
            self._places = {place: _Place() for place in joined.assignment}
            self._assigned.set()
            revoked = set(joined.assignment)
            await self._tell("assigned", revoked)
            self._heartbeat = asyncio.create_task(self._beat())
            if not self._closing.is_set():
                await self._rejoin.wait()
        self._assigned.set()

    async def _tell(self, event: str, places: set[TopicPartition]) -> None:
        if self._listener is None:
            return
        try:
            await getattr(self._listener, f"on_partitions_{event}")(set(places))
        except Exception as error:  # as aiokafka: said in the log, and forgotten
            self._broker.network.note("client", f"the listener failed: {error!r}")

    async def _join(self) -> Joined | None:
        assert self._group_id is not None
        group = self._broker.group(self._group_id)
        while not self._closing.is_set():
            member_id = self._member_id
            try:
                found: Joined = await self._broker.network.call(
                    f"join {self._group_id}",
                    lambda member_id=member_id: group.join(member_id, self._instance, self._session_s, self._topics),
                    timeout_s=self._timeout_s,
                )
            except UnknownMemberIdError:
                self._member_id = ""
            except KafkaError:
                await asyncio.sleep(_BACKOFF_S)
            else:
                return found
        return None

    async def _beat(self) -> None:
        assert self._group_id is not None
        group = self._broker.group(self._group_id)
        pause = self._heartbeat_s
        while self._member_id:
            await asyncio.sleep(pause)
            member_id, generation = self._member_id, self._generation
            try:
                await self._broker.network.call(
                    f"heartbeat of {self._group_id}",
                    lambda m=member_id, g=generation: group.heartbeat(m, g),
                    timeout_s=self._timeout_s,
                )
            except RebalanceInProgressError:
                self._rejoin.set()
            except (UnknownMemberIdError, IllegalGenerationError):
                self._reset()
            except KafkaError:
                pause = _BACKOFF_S
                continue
            pause = self._heartbeat_s

    async def _stop_heartbeat(self) -> None:
        task, self._heartbeat = self._heartbeat, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _done(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
